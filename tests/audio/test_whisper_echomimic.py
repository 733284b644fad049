"""Whisper features as EchoMimic uses them: the recorded numbers, and the rows of each frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from openemo.audio import Audio, SpeechFeatures, WhisperEncoder
from openemo.audio.mel import log_mel
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from tests.parity import cases, config, folder_of, load

RATE_HZ = 16_000
TOLERANCE = 1e-3  # the recorded run differs from double precision by far less; another layer by over 0.1
NAMES = (
    ("layers.", "blocks."),
    ("self_attn_layer_norm", "attn_ln"),
    ("self_attn.q_proj", "attn.query"),
    ("self_attn.k_proj", "attn.key"),
    ("self_attn.v_proj", "attn.value"),
    ("self_attn.out_proj", "attn.out"),
    ("final_layer_norm", "mlp_ln"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("embed_positions.weight", "positional_embedding"),
)


def theirs(name: str) -> str:
    """OpenAI's name of a tensor of transformers' encoder."""
    for ours, openais in NAMES:
        name = name.replace(ours, openais)
    return "encoder." + (name.replace("layer_norm", "ln_post") if name.startswith("layer_norm") else name)


@pytest.fixture(scope="module", params=cases("echomimic_audio"))
def folder(request: pytest.FixtureRequest) -> Path:
    return folder_of(request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> WhisperEncoder:
    dims = config(folder)["dims"]
    network = WhisperNetwork(
        WhisperConfig(
            d_model=dims["n_audio_state"],
            encoder_layers=dims["n_audio_layer"],
            encoder_attention_heads=dims["n_audio_head"],
            encoder_ffn_dim=4 * dims["n_audio_state"],
            num_mel_bins=dims["n_mels"],
            max_source_positions=dims["n_audio_ctx"],
        )
    )
    weights = load(folder / "weights.safetensors")
    network.load_state_dict({name: weights[theirs(name)] for name in network.state_dict()})
    return WhisperEncoder(
        network,
        layers=range(dims["n_audio_layer"] + 1),
        window_tokens=dims["n_audio_ctx"],
        separate_windows=True,
        final_norm=False,
        normalise=False,
        split_layers=True,
        anchor="start",
    )


@pytest.fixture(scope="module")
def waveform(folder: Path) -> Audio:
    samples = load(folder / "inputs.safetensors")["waveform_int16"].numpy() / np.float32(32768)
    return Audio(samples[None].astype(np.float32), RATE_HZ)


def test_spectrogram(folder: Path, waveform: Audio) -> None:
    expected = load(folder / "outputs.safetensors")["log_mel"]
    torch.testing.assert_close(log_mel(waveform.samples[0]), expected, atol=TOLERANCE, rtol=0)


def test_features(folder: Path, encoder: WhisperEncoder, waveform: Audio) -> None:
    expected = load(folder / "outputs.safetensors")["features"]
    features = encoder.encode(waveform, fps=Fraction(24), clip_frames=12)
    torch.testing.assert_close(features.values, expected.flatten(1), atol=TOLERANCE, rtol=0)
    # The tokens of a frame: for each position the states of all layers.
    tokens = features.windows([3], Fraction(24), 10)
    assert tokens.shape == (1, 10 * expected.shape[1], expected.shape[2])
    rows = features.positions([3], Fraction(24), 10)[0]
    torch.testing.assert_close(tokens[0], expected[rows].flatten(0, 1), atol=TOLERANCE, rtol=0)


def test_sound_longer_than_a_window(encoder: WhisperEncoder, folder: Path) -> None:
    """Windows are independent: the second does not depend on the first."""
    rows = config(folder)["thirty_one_second_rows"]
    samples = np.random.default_rng(1).normal(size=(1, 31 * RATE_HZ)).astype(np.float32) * 0.1
    values = encoder(Audio(samples, RATE_HZ)).values
    assert len(values) == rows
    other = samples.copy()
    other[:, : 29 * RATE_HZ] *= 0.5
    changed = encoder(Audio(other, RATE_HZ)).values
    assert torch.equal(values[1500:], changed[1500:])
    assert not torch.equal(values[:1500], changed[:1500])


def test_rows_of_each_frame(folder: Path) -> None:
    expected = load(folder / "outputs.safetensors")
    for name, case in config(folder)["frame_index_cases"].items():
        features = SpeechFeatures(torch.zeros(case["features"], 1), anchor="start")
        frames = range(case["frames"])
        rows = features.positions(frames, Fraction(case["fps"]), 10)
        assert torch.equal(rows.int(), expected[f"frame_indices.{name}"])


def test_sound_of_a_few_samples(encoder: WhisperEncoder) -> None:
    assert len(encoder(Audio(np.ones((1, 9), np.float32), RATE_HZ)).values) == 1
