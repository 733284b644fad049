"""wav2vec 2.0's states: Hallo's numbers, and what holds whatever the weights."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio import Audio, Wav2VecEncoder
from openemo.errors import AudioError, CheckpointError, ConfigError

RATE_HZ = 16_000
FPS = Fraction(25)
# About 60 times the recorded float32-float64 difference; a window shifted by a frame differs by over 0.1.
TOLERANCE = 1e-3


def load(path: Path) -> dict[str, Tensor]:
    return {
        key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()
    }


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


@pytest.fixture(scope="module")
def hallo(shared_dir: Path) -> tuple[Wav2VecEncoder, Audio, dict[str, Tensor]]:
    folder = shared_dir / "parity" / "hallo_audio"
    settings = json.loads((folder / "config.json").read_text())
    network = Wav2Vec2Model(Wav2Vec2Config(**settings["wav2vec2_config"]))
    network.load_state_dict(load(folder / "weights.safetensors"))
    waveform = load(folder / "inputs.safetensors")["waveform_int16"].numpy()
    audio = Audio((waveform / np.float32(32768))[None].astype(np.float32), RATE_HZ)
    return Wav2VecEncoder(network), audio, load(folder / "outputs.safetensors")


def test_waveform_is_normalised_as_hallo_does(
    hallo: tuple[Wav2VecEncoder, Audio, dict[str, Tensor]],
) -> None:
    encoder, audio, expected = hallo
    normalised = torch.from_numpy(encoder.normalised(audio.samples[0]))
    torch.testing.assert_close(normalised, expected["normalised_waveform"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "clip_frames"), [("clip16", 16), ("noclip", 1)])
def test_features_are_hallos(
    hallo: tuple[Wav2VecEncoder, Audio, dict[str, Tensor]], name: str, clip_frames: int
) -> None:
    encoder, audio, expected = hallo
    features = encoder.hear(audio, fps=FPS, clip_frames=clip_frames)
    states = expected[f"{name}.audio_emb"]
    torch.testing.assert_close(features.values, states.flatten(1), atol=TOLERANCE, rtol=0)
    windows = features.windows(range(len(states)), FPS, 5)
    torch.testing.assert_close(
        windows, expected[f"{name}.audio_emb_windowed"].flatten(2), atol=TOLERANCE, rtol=0
    )


def test_last_layer_alone_is_hallos(hallo: tuple[Wav2VecEncoder, Audio, dict[str, Tensor]]) -> None:
    encoder, audio, expected = hallo
    last = Wav2VecEncoder(encoder.encoder, layers=(4,))
    values = last.hear(audio, fps=FPS, clip_frames=16).values
    torch.testing.assert_close(values, expected["clip16.last_only"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("stable", [False, True])
def test_states_are_transformers(stable: bool) -> None:
    """Not stretched (as many frames as the convolutions give), the states are those of the library."""
    network = tiny(do_stable_layer_norm=stable, feat_extract_norm="layer" if stable else "group").eval()
    waveform = noise(3_000).samples[0]
    with torch.no_grad():
        expected = network(torch.from_numpy(waveform)[None], output_hidden_states=True)
    encoder = Wav2VecEncoder(network, layers=(0, 1, 2, 3))
    states = encoder.states(waveform, expected.last_hidden_state.shape[1])
    assert states.shape == (37, 4, 12)
    for layer in range(4):
        # The library's list lacks the final layer norm; its last hidden state has it.
        state = expected.hidden_states[layer] if layer < 3 else expected.last_hidden_state
        # The same sums in the same precision; only the attention kernel may order them otherwise.
        torch.testing.assert_close(states[:, layer], state[0], atol=1e-5, rtol=0)


def test_frames_cover_the_sound_and_fill_the_clips() -> None:
    encoder = Wav2VecEncoder(tiny())
    for num_samples, fps, clip_frames, expected in (
        (16_000, FPS, 1, 25),
        (16_001, FPS, 1, 26),
        (16_000, FPS, 12, 36),
        (16_000, FPS, 25, 25),
        (4_480, FPS, 1, 8),  # 0.28 * 25 is a little over 7 in floating point, and so it was in training
        (16_000, Fraction(30_000, 1001), 7, 35),
    ):
        features = encoder.hear(noise(num_samples), fps=fps, clip_frames=clip_frames)
        assert features.values.shape == (expected, 36)
        window = features.windows([0, expected - 1], fps, 5)
        assert torch.equal(window[0, :3], features.values[[0, 0, 0]])
        assert torch.equal(window[1, 2:], features.values[[-1, -1, -1]])


def test_loudness_matters_only_when_asked() -> None:
    audio = noise(4_000)
    louder = Audio(audio.samples * 3, RATE_HZ)

    def change(encoder: Wav2VecEncoder) -> float:
        quiet, loud = (encoder.hear(sound, fps=FPS, clip_frames=4).values for sound in (audio, louder))
        return float((quiet - loud).abs().max())

    network = tiny(feat_extract_norm="layer", conv_bias=True)
    assert change(Wav2VecEncoder(network)) < 1e-3  # the floor under the variance
    assert change(Wav2VecEncoder(network, normalise=False)) > 1e-2


def test_saved_and_loaded(tmp_path: Path) -> None:
    encoder = Wav2VecEncoder(tiny(), layers=(1, 3))
    encoder.save_pretrained(tmp_path)
    again = Wav2VecEncoder.from_pretrained(tmp_path, **encoder.options())
    one, two = (part.hear(noise(2_000), fps=FPS, clip_frames=3).values for part in (encoder, again))
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
        Wav2VecEncoder(tiny()).hear(noise(20), fps=FPS, clip_frames=1)
