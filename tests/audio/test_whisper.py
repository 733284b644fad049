from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import WhisperConfig as TransformersConfig
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder as TransformersEncoder

from openemo.audio.audio_reader import Audio, read_audio
from openemo.audio.loudness import normalise_loudness
from openemo.audio.mel import _mel_filters, log_mel
from openemo.audio.speech_features import SpeechFeatures
from openemo.audio.whisper import WhisperEncoder
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from openemo.errors import AudioError, CheckpointError, ConfigError
from openemo.timing import speech_window_start

RATE_HZ = 16_000


def voice(seconds: float, seed: int = 0) -> npt.NDArray[np.float32]:
    """Like syllables: noise with a 3 Hz envelope, over a gliding tone."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * (150 * time_s + 20 * np.sin(time_s)))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time_s)
    return np.asarray(0.1 * envelope * (tone + 0.3 * rng.normal(size=time_s.size)), np.float32)


@pytest.fixture(scope="module")
def tiny() -> WhisperNetwork:
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=24,
        encoder_layers=3,
        encoder_attention_heads=2,
        encoder_ffn_dim=40,
        num_mel_bins=80,
        max_source_positions=1_500,
    )
    return WhisperNetwork(config)


@pytest.mark.parametrize("seconds", [30.0, 11.3, 0.5])
def test_log_mel_is_whispers(seconds: float) -> None:
    samples = voice(seconds)
    padded = np.pad(samples, (0, 30 * RATE_HZ - samples.size))
    extractor: Callable[..., Any] = WhisperFeatureExtractor
    expected = extractor()(samples, sampling_rate=RATE_HZ, return_tensors="np").input_features[0]
    # Single against double precision in the Fourier transform, after a logarithm.
    np.testing.assert_allclose(log_mel(padded).numpy(), expected, atol=2e-4)


def test_log_mel_in_blocks_is_seamless() -> None:
    samples = voice(65)
    whole = log_mel(samples)
    assert whole.shape == (80, 6_500)
    # Frames away from the padding at the cut, and above the floors, which depend on the peak of each part.
    part = log_mel(samples[20 * RATE_HZ : 45 * RATE_HZ])[:, 5:-5]
    both = torch.minimum(part, whole[:, 2_005:4_495]) > max(part.min(), whole.min())
    torch.testing.assert_close(part[both], whole[:, 2_005:4_495][both], atol=1e-4, rtol=0)


@pytest.mark.parametrize("num_mel_bins", [80, 128])
def test_mel_filters_are_transformers(num_mel_bins: int) -> None:
    expected = mel_filter_bank(
        num_frequency_bins=201,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=RATE_HZ / 2,
        sampling_rate=RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    np.testing.assert_array_equal(_mel_filters(num_mel_bins).numpy(), expected.astype(np.float32))


def transformers_states(network: WhisperNetwork, mel_BMT: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Hidden states of transformers' own encoder with these weights: a name that differs is an error."""
    theirs = TransformersEncoder(TransformersConfig(**network.config.to_diff_dict())).eval()
    theirs.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        return tuple(theirs(mel_BMT, output_hidden_states=True).hidden_states)


def test_states_are_transformers(tiny: WhisperNetwork) -> None:
    samples = voice(30)
    encoder = WhisperEncoder(tiny, layers=(0, 2, 3), window_tokens=1_500)
    # The same gain as in the encoder, so that only the network is compared.
    mel = log_mel(normalise_loudness(samples, RATE_HZ))[None]
    states = transformers_states(tiny, mel)
    expected = torch.cat([states[0][0], states[2][0], states[3][0]], dim=-1)
    features = encoder(Audio(samples[None], RATE_HZ))
    assert features.values.shape == (1_500, 72)
    torch.testing.assert_close(features.values, expected, atol=1e-6, rtol=1e-6)  # blended at the ends
    with torch.no_grad():
        assert torch.equal(tiny(mel), states[-1])


@pytest.mark.slow
def test_states_are_transformers_with_published_weights(shared_dir: Path) -> None:
    """Whisper base, bit for bit."""
    encoder = WhisperEncoder.from_pretrained(shared_dir / "data/weights/whisper-base-encoder")
    encoder.layers, encoder.window_tokens = tuple(range(7)), 1_500
    samples = normalise_loudness(voice(30), RATE_HZ)
    states = transformers_states(encoder.encoder, log_mel(samples)[None])
    expected = torch.cat([state[0] for state in states], dim=-1)
    assert torch.equal(encoder.encode_part(samples, loudest=-10.0).values, expected)


@pytest.mark.parametrize(
    ("seconds", "num_tokens"), [(1 / RATE_HZ, 1), (0.02, 1), (0.021, 2), (3.0, 150), (6.0, 300), (6.01, 301)]
)
def test_num_tokens(tiny: WhisperNetwork, seconds: float, num_tokens: int) -> None:
    features = WhisperEncoder(tiny, layers=(1,))(Audio(voice(seconds)[None], RATE_HZ))
    assert features.values.shape == (num_tokens, 24)
    assert features.values.isfinite().all()


@pytest.mark.parametrize("seconds", [6.02, 9.99, 10.0, 13.7, 41.0])
def test_windows_cover_everything(tiny: WhisperNetwork, seconds: float) -> None:
    features = WhisperEncoder(tiny, layers=(0, 1))(Audio(voice(seconds)[None], RATE_HZ))
    assert features.values.shape[0] == int(np.ceil(round(seconds * 50, 6)))
    assert features.values.isfinite().all()
    steps = features.values.diff(dim=0).norm(dim=-1)
    # The blend has no visible joint: no step is much larger than those of the audio itself.
    assert steps.max() < 4 * steps.quantile(0.9)


def test_loudness_and_channels_do_not_matter(tiny: WhisperNetwork) -> None:
    encoder = WhisperEncoder(tiny, layers=(1, 3))
    samples = voice(4)
    plain = encoder(Audio(samples[None], RATE_HZ)).values
    quiet = encoder(Audio(np.stack([samples, samples]) * np.float32(0.05), RATE_HZ)).values
    torch.testing.assert_close(quiet, plain, atol=1e-3, rtol=0)


def test_silence(tiny: WhisperNetwork) -> None:
    encoder = WhisperEncoder(tiny, layers=(1, 3))
    assert encoder(Audio(np.zeros((1, 8_000), np.float32), RATE_HZ)).values.isfinite().all()
    with pytest.raises(AudioError, match="no sound"):
        encoder(Audio(np.zeros((1, 0), np.float32), RATE_HZ))


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(50)])
def test_feature_windows(fps: Fraction) -> None:
    values = torch.arange(1.0, 38.0)[:, None] * torch.tensor([1.0, -2.0, 3.0])
    windows = SpeechFeatures(values).windows(range(2, 40), fps, 7)
    assert windows.shape == (38, 7, 3)
    for row, frame in enumerate(range(2, 40)):
        start = speech_window_start(frame, fps, 50, 7)
        for column, token in enumerate(range(start, start + 7)):
            assert torch.equal(windows[row, column], values[min(max(token, 0), 36)])


def test_save_and_load(tiny: WhisperNetwork, tmp_path: Path) -> None:
    audio = Audio(voice(3.3)[None], RATE_HZ)
    WhisperEncoder(tiny, layers=(1, 2)).save_pretrained(tmp_path)
    loaded = WhisperEncoder.from_pretrained(tmp_path, layers=(1, 2))
    assert loaded.feature_dim == 48
    expected = WhisperEncoder(tiny, layers=(1, 2))(audio).values
    assert torch.equal(loaded(audio).values, expected)
    half = WhisperEncoder.from_pretrained(tmp_path, layers=(1, 2), dtype=torch.bfloat16)
    assert half(audio).values.dtype == torch.bfloat16


def test_bad_checkpoints(tiny: WhisperNetwork, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        WhisperEncoder.from_pretrained(tmp_path)
    WhisperEncoder(tiny, layers=(1,)).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"encoder_layers": 3', '"encoder_layers": 2'))
    with pytest.raises(CheckpointError, match="do not fit"):
        WhisperEncoder.from_pretrained(tmp_path, layers=(1,))
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        WhisperEncoder.from_pretrained(tmp_path, layers=(1,))


@pytest.mark.parametrize(("layers", "window_tokens"), [((), 300), ((4,), 300), ((-1,), 300), ((1,), 1_501)])
def test_bad_settings(tiny: WhisperNetwork, layers: tuple[int, ...], window_tokens: int) -> None:
    with pytest.raises(ConfigError):
        WhisperEncoder(tiny, layers=layers, window_tokens=window_tokens)


@pytest.mark.slow
def test_long_sound_agrees_with_a_short_one(shared_dir: Path) -> None:
    """Audio around a 6 s window has little effect on the features inside it."""
    encoder = WhisperEncoder.from_pretrained(shared_dir / "data/weights/whisper-base-encoder")
    sound = read_audio(shared_dir / "data/speech/jfk.flac").mono().resample(RATE_HZ)
    long = encoder(sound).values[200:500]
    # From 4 s on, where the second window of the long audio starts: so the position in the window is equal.
    short = encoder(Audio(sound.samples[:, 4 * RATE_HZ : 10 * RATE_HZ], RATE_HZ)).values
    inner = slice(50, 250)
    error = (short[inner] - long[inner]).norm() / long[inner].norm()
    # 0.33 measured, from the other audio in the last window and the blend. Other positions give 0.7.
    assert error < 0.4
