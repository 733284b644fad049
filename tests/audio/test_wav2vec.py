"""wav2vec 2.0 features: the numbers of Hallo's code, and properties that hold for any weights."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio import Audio, Wav2VecEncoder
from openemo.errors import AudioError, CheckpointError, ConfigError
from tests.parity import assert_close, cases, config, folder_of, load

RATE_HZ = 16_000
FPS = Fraction(25)
# About 60 times the recorded float32-float64 difference; a window shifted by a frame differs by over 0.1.
TOLERANCE = 1e-3


def tiny(**changes: Any) -> Wav2Vec2Model:
    config = Wav2Vec2Config(
        **{
            "hidden_size": 12,
            "conv_dim": (6, 8, 10),
            "conv_stride": (5, 4, 4),
            "conv_kernel": (10, 3, 3),
            "num_feat_extract_layers": 3,
            "num_conv_pos_embeddings": 6,
            "num_conv_pos_embedding_groups": 3,
            "num_hidden_layers": 3,
            "intermediate_size": 14,
            "num_attention_heads": 2,
            "vocab_size": 7,
        }
        | changes
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Wav2Vec2Model(config)


def noise(num_samples: int, seed: int = 0) -> Audio:
    samples = np.random.default_rng(seed).normal(size=(1, num_samples)) * 0.1
    return Audio(samples.astype(np.float32), RATE_HZ)


class Recorded(NamedTuple):
    """A recorded case: Hallo's speech network, the audio, the outputs, and the frames per clip."""

    encoder: Wav2VecEncoder
    audio: Audio
    expected: dict[str, Tensor]
    clip_frames: int


@pytest.fixture(scope="module", params=cases("hallo_audio"))
def hallo(request: pytest.FixtureRequest) -> Recorded:
    folder = folder_of(request.param)
    settings = config(folder)
    network = Wav2Vec2Model(Wav2Vec2Config(**settings["wav2vec2_config"]))
    network.load_state_dict(load(folder / "weights.safetensors"))
    waveform = load(folder / "inputs.safetensors")["waveform_int16"].numpy()
    audio = Audio((waveform / np.float32(32768))[None].astype(np.float32), RATE_HZ)
    expected = load(folder / "outputs.safetensors")
    return Recorded(Wav2VecEncoder(network), audio, expected, settings["clip_length"])


def test_waveform_is_normalised_as_hallo_does(hallo: Recorded) -> None:
    normalised = torch.from_numpy(hallo.encoder.normalised(hallo.audio.samples[0]))
    assert_close(normalised, hallo.expected["normalised_waveform"], 1e-5)


@pytest.mark.parametrize("filled", [True, False])
def test_features_are_hallos(hallo: Recorded, filled: bool) -> None:
    """Frames up to the end of the last clip, or only those of the audio."""
    clip_frames = hallo.clip_frames if filled else 1
    name = f"clip{clip_frames}" if filled else "noclip"
    features = hallo.encoder.encode(hallo.audio, fps=FPS, clip_frames=clip_frames)
    states = hallo.expected[f"{name}.audio_emb"]
    assert_close(features.values, states.flatten(1), TOLERANCE)
    windows = features.windows(range(len(states)), FPS, 5)
    assert_close(windows, hallo.expected[f"{name}.audio_emb_windowed"].flatten(2), TOLERANCE)


def test_last_layer_alone_is_hallos(hallo: Recorded) -> None:
    network = hallo.encoder.encoder
    last = Wav2VecEncoder(network, layers=(network.config.num_hidden_layers,))
    values = last.encode(hallo.audio, fps=FPS, clip_frames=hallo.clip_frames).values
    assert_close(values, hallo.expected[f"clip{hallo.clip_frames}.last_only"], TOLERANCE)


@pytest.mark.parametrize("stable", [False, True])
def test_states_are_transformers(stable: bool) -> None:
    """Without interpolation (one frame per output of the convolutions) the states are transformers'."""
    network = tiny(do_stable_layer_norm=stable, feat_extract_norm="layer" if stable else "group").eval()
    waveform = noise(3_000).samples[0]
    with torch.no_grad():
        expected = network(torch.from_numpy(waveform)[None], output_hidden_states=True)
    encoder = Wav2VecEncoder(network, layers=(0, 1, 2, 3))
    states = encoder.states(waveform, expected.last_hidden_state.shape[1])
    assert states.shape == (37, 4, 12)
    for layer in range(4):
        # transformers' list lacks the final layer norm; its last hidden state has it.
        state = expected.hidden_states[layer] if layer < 3 else expected.last_hidden_state
        # The same sums in the same precision; only the attention kernel may have another order.
        torch.testing.assert_close(states[:, layer], state[0], atol=1e-5, rtol=0)


def test_frames_cover_the_sound_and_fill_the_clips() -> None:
    encoder = Wav2VecEncoder(tiny())
    for num_samples, fps, clip_frames, expected in (
        (16_000, FPS, 1, 25),
        (16_001, FPS, 1, 26),
        (16_000, FPS, 12, 36),
        (16_000, FPS, 25, 25),
        (4_480, FPS, 1, 8),  # 0.28 * 25 is slightly over 7 in floating point, as in training
        (16_000, Fraction(30_000, 1001), 7, 35),
    ):
        features = encoder.encode(noise(num_samples), fps=fps, clip_frames=clip_frames)
        assert features.values.shape == (expected, 36)
        window = features.windows([0, expected - 1], fps, 5)
        assert torch.equal(window[0, :3], features.values[[0, 0, 0]])
        assert torch.equal(window[1, 2:], features.values[[-1, -1, -1]])


def test_loudness_matters_only_when_asked() -> None:
    audio = noise(4_000)
    louder = Audio(audio.samples * 3, RATE_HZ)

    def change(encoder: Wav2VecEncoder) -> float:
        quiet, loud = (encoder.encode(sound, fps=FPS, clip_frames=4).values for sound in (audio, louder))
        return float((quiet - loud).abs().max())

    network = tiny(feat_extract_norm="layer", conv_bias=True)
    assert change(Wav2VecEncoder(network)) < 1e-3  # the floor under the variance
    assert change(Wav2VecEncoder(network, normalise=False)) > 1e-2


def test_saved_and_loaded(tmp_path: Path) -> None:
    encoder = Wav2VecEncoder(tiny(), layers=(1, 3))
    encoder.save_pretrained(tmp_path)
    again = Wav2VecEncoder.from_pretrained(tmp_path, **encoder.options())
    one, two = (part.encode(noise(2_000), fps=FPS, clip_frames=3).values for part in (encoder, again))
    assert torch.equal(one, two)
    assert again.feature_dim == one.shape[1] == 24
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        Wav2VecEncoder.from_pretrained(tmp_path)


def test_wrong_use() -> None:
    with pytest.raises(ConfigError, match="lacks these layers"):
        Wav2VecEncoder(tiny(), layers=(4,))
    with pytest.raises(AudioError, match="too short for the speech encoder"):
        Wav2VecEncoder(tiny()).encode(noise(20), fps=FPS, clip_frames=1)
