"""Tongue and lips as they are heard in Whisper's states."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from openemo.audio import Audio, SpeechFeatures, WhisperEncoder, read_audio
from openemo.audio.articulatory_features import (
    FEATURE_DIM,
    ArticulatoryFeatures,
    ArticulatoryNet,
    check_encoder,
    hear_articulation,
)
from openemo.errors import ConfigError
from openemo.pipeline import EmoPipeline

FPS = Fraction(25)
TONGUE = {"lay", "now", "two", "three", "nine"}
LIPS = {"bin", "place", "blue", "by", "please"}
NEITHER = {"set", "green", "white", "with", "one", "four", "five", "six", "seven", "eight", "again", "soon"}


@pytest.fixture(scope="module")
def encoder(embedded_dir: Path) -> WhisperEncoder:
    return WhisperEncoder.from_pretrained(embedded_dir / "speech_encoder")


def _words(path: Path) -> list[tuple[float, float, str]]:
    """Start and end in frames, and the word."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [(int(start) / 1000, int(end) / 1000, word) for start, end, word in rows]


@pytest.mark.slow
def test_words_that_begin_with_the_tongue_raise_it_and_those_with_the_lips_shut_them(
    encoder: WhisperEncoder, shared_dir: Path
) -> None:
    """In a real voice; the network has heard synthetic ones alone."""
    folder = shared_dir / "data/grid"
    clips = sorted((folder / "s1").glob("*.mp4"))[:120:10]
    if not clips:
        pytest.skip("the clips of GRID are not in the data folder `shared`")
    first: dict[str, list[tuple[float, float]]] = {"tongue": [], "lips": [], "neither": []}
    for clip in clips:
        heard = hear_articulation(encoder(read_audio(clip)), 75, FPS)
        for start, end, word in _words(folder / "align" / f"{clip.stem}.align"):
            kind = next(
                (k for k, words in zip(first, (TONGUE, LIPS, NEITHER), strict=True) if word in words), None
            )
            if kind is not None:
                part = slice(max(0, round(start) - 2), max(round(start) + 2, round((2 * start + end) / 3)))
                first[kind].append((heard.tongue_F[part].max(), heard.shut_F[part].max()))
    tongue, lips, neither = (np.array(values).mean(0) for values in first.values())
    assert tongue[0] > max(lips[0], neither[0]) + 0.25
    assert lips[1] > max(tongue[1], neither[1]) + 0.25


def test_silence_leaves_the_tongue_down(encoder: WhisperEncoder) -> None:
    noise = 1e-3 * np.random.default_rng(0).standard_normal((1, 32_000)).astype(np.float32)
    for samples in (np.zeros_like(noise), noise):
        heard = hear_articulation(encoder(Audio(samples, 16_000)), 50, FPS)
        assert heard.tongue_F.max() < 0.2


def test_frames_follow_the_time_of_the_sound() -> None:
    values = torch.randn(60, FEATURE_DIM, generator=torch.Generator().manual_seed(1))
    speech = SpeechFeatures(values)
    at_25, at_50 = (hear_articulation(speech, count, Fraction(fps)) for count, fps in ((30, 25), (60, 50)))
    # The middle of frame k at 25 fps lies between the middles of frames 2k and 2k + 1 at 50 fps.
    between = (at_50.tongue_F[::2] + at_50.tongue_F[1::2]) / 2
    middle = at_25.tongue_F
    assert np.abs(middle - between).mean() < 0.5 * np.abs(middle - np.roll(between, 1)).mean()
    longer = hear_articulation(speech, 40, FPS)
    np.testing.assert_array_equal(longer.shut_F[:30], at_25.shut_F)
    assert np.ptp(longer.shut_F[30:]) == 0
    part = longer.frames(3, 7)
    np.testing.assert_array_equal(part.tongue_F, longer.tongue_F[3:7])
    for track in (longer.tongue_F, longer.shut_F):
        assert 0 <= track.min() <= track.max() <= 1


def test_the_network_hears_80_ms_around_a_token() -> None:
    network = ArticulatoryNet()
    values = torch.randn(1, 20, FEATURE_DIM, generator=torch.Generator().manual_seed(2), requires_grad=True)
    network(values)[0, 10, 0].backward()
    assert values.grad is not None
    reached = values.grad[0].abs().amax(1).nonzero()[:, 0].tolist()
    assert reached == list(range(6, 15))


def test_other_encoders_are_refused(encoder: WhisperEncoder, tiny_pipeline: EmoPipeline) -> None:
    check_encoder(encoder)
    with pytest.raises(ConfigError, match="`tongue`"):
        check_encoder(tiny_pipeline.speech_encoder)
    speech = SpeechFeatures(torch.zeros(8, 4))
    assert tiny_pipeline.hear_articulation(speech, 4) is None
    with pytest.raises(ConfigError, match="`tongue`"):
        tiny_pipeline.hear_articulation(speech, 4, config=tiny_pipeline.config.override(tongue=1.0))


@pytest.mark.parametrize(("tongue", "pressing"), [(0.5, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_settings_are_gains(
    tiny_pipeline: EmoPipeline, encoder: WhisperEncoder, tongue: float, pressing: float
) -> None:
    pipeline = EmoPipeline(
        tiny_pipeline.unet,
        tiny_pipeline.reference_net,
        tiny_pipeline.autoencoder,
        tiny_pipeline.scheduler,
        encoder,
        tiny_pipeline.face_analyzer,
        tiny_pipeline.config.override(tongue=tongue, lip_pressing=pressing),
    )
    values = torch.randn(30, FEATURE_DIM, generator=torch.Generator().manual_seed(3))
    whole = hear_articulation(SpeechFeatures(values), 15, FPS)
    heard = pipeline.hear_articulation(SpeechFeatures(values), 15)
    if tongue == pressing == 0:
        assert heard is None
    else:
        assert isinstance(heard, ArticulatoryFeatures)
        np.testing.assert_allclose(heard.tongue_F, tongue * whole.tongue_F)
        np.testing.assert_allclose(heard.shut_F, pressing * whole.shut_F)
