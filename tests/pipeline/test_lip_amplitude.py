"""The mouth is brought to the amplitude of people, for each face and voice, before the first frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openemo.audio.audio_reader import Audio, read_audio
from openemo.models.motion_autoencoder import MotionReference
from openemo.pipeline import EmoPipeline
from openemo.pipeline.lip_amplitude import LiveLipGain, lip_gain, loud_clips
from openemo.video.images import read_image


def test_the_gain_brings_a_spread_to_the_wanted_one_within_limits() -> None:
    curve = np.sin(np.linspace(0, 60, 500))
    for spread in (0.02, 0.025, 0.03):
        parting = spread * np.sqrt(2) * curve
        assert lip_gain(parting, 0.027) == pytest.approx(0.027 / spread, rel=0.01)
    assert lip_gain(0.1 * curve, 0.027) == pytest.approx(0.8)
    assert lip_gain(0.016 * curve, 0.027) == pytest.approx(1.8)


def test_what_is_no_speech_is_not_enlarged() -> None:
    """Silence and noise move lips by very little; brought to the amplitude of speech, they would chatter."""
    curve = np.sin(np.linspace(0, 60, 500))
    still = lip_gain(np.zeros(50), 0.027)
    assert still == lip_gain(0.004 * curve, 0.027) < 1.3


def test_clips_are_taken_where_the_sound_is_loud() -> None:
    rate_hz, fps, clip_frames = 16000, Fraction(25), 12
    samples = np.full((1, 20 * rate_hz), 0.001, np.float32)
    samples[:, 4 * rate_hz : 15 * rate_hz] = 0.3
    firsts = loud_clips(Audio(samples, rate_hz), 500, clip_frames, fps, 6)
    assert len(firsts) == 6
    assert firsts == sorted(firsts)
    assert all(first % clip_frames == 0 for first in firsts)
    assert min(firsts) >= 4 * 25
    assert max(firsts) + clip_frames <= 15 * 25
    assert max(firsts) - min(firsts) > 200


def test_a_short_sound_is_one_clip() -> None:
    assert loud_clips(Audio(np.ones((2, 800), np.float32), 16000), 1, 12, Fraction(25), 6) == [0]


def test_a_live_gain_goes_from_the_usual_one_to_that_of_the_voice() -> None:
    """Step by step, and within seconds; the side's unit is taken out."""
    curve, width = 0.020 * np.sqrt(2) * np.sin(np.linspace(0, 200, 1500)), 0.6
    live, gains = LiveLipGain(0.028, width), []
    for part in np.split(curve, 375):
        live.add(width * part)
        gains.append(live.gain)
    assert LiveLipGain(0.028, width).gain == lip_gain(np.zeros(9), 0.028)
    assert gains[-1] == pytest.approx(lip_gain(curve, 0.028), rel=0.05)
    assert np.abs(np.diff(gains[6:])).max() < 0.06


@pytest.mark.slow
def test_lips_move_as_far_as_asked_for_whatever_the_network_makes(
    embedded_dir: Path, portrait_path: Path, voice_path: Path
) -> None:
    pipeline = EmoPipeline.from_pretrained(embedded_dir)
    portrait, voice = pipeline.prepare_portrait(read_image(portrait_path)), read_audio(voice_path)
    speech = pipeline.encode_audio(voice)

    def strength(spread: float | None, lip_motion: float = 1.0) -> float:
        config = pipeline.config.model_copy(update={"lip_spread": spread, "lip_motion": lip_motion})
        reference = pipeline.encode_reference(portrait, config=config)
        adapted = pipeline.prepare_lip_motion(voice, portrait, speech, reference, config=config).encoded
        assert isinstance(adapted, MotionReference)
        assert adapted.layers is not None
        return adapted.layers.lip_motion.strength

    assert strength(None) == 1
    assert strength(0.039) == strength(0.039) == pytest.approx(1.3 * strength(0.03))
    assert strength(0.03, lip_motion=0.5) == pytest.approx(0.5 * strength(0.03))
    assert strength(0.03, lip_motion=0.0) == 0
