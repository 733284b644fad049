"""Varied voices differ, with the same timing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.voice_augmentation import SAMPLE_RATE_HZ, shift_voice, vary_voice

Sound = NDArray[np.float32]
FACTORS = [0.85, 1.2, 1.45]
ENVELOPE_STEP = SAMPLE_RATE_HZ // 1000


def _bursts(duration_s: float = 2.1) -> Sound:
    """Syllables of unequal distance: 60 ms of a 230 Hz buzz, silence between."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    buzz = np.sum([np.sin(2 * np.pi * 230 * k * time_s) / k for k in range(1, 9)], 0)
    loud = np.sum(
        [np.exp(-(((time_s - start_s) / 0.03) ** 2)) for start_s in (0.3, 0.62, 0.81, 1.4, 1.75)], 0
    )
    return np.asarray(0.2 * buzz * loud, np.float32)


def _envelope(sound: Sound) -> NDArray[np.float64]:
    """Loudness in steps of 1 ms, smoothed over a period of the voice."""
    smooth = np.convolve(np.abs(sound), np.ones(SAMPLE_RATE_HZ // 100), "same")
    return np.asarray(smooth[::ENVELOPE_STEP], np.float64)


def _lag_ms(late: Sound, early: Sound) -> int:
    a, b = (_envelope(sound) - _envelope(sound).mean() for sound in (late, early))
    return int(np.argmax(np.correlate(a, b, "full"))) - (len(b) - 1)


def test_lag_of_this_test_is_positive_for_a_late_sound() -> None:
    sound = _bursts()
    assert _lag_ms(np.roll(sound, 7 * ENVELOPE_STEP), sound) == 7


@pytest.mark.parametrize("factor", FACTORS)
def test_shifted_voice_keeps_length_and_timing(factor: float) -> None:
    sound = _bursts()
    shifted = shift_voice(sound, factor)
    assert shifted.shape == sound.shape
    assert shifted.dtype == np.float32
    # An eighth of a frame at 25 frames per second.
    assert abs(_lag_ms(shifted, sound)) <= 5
    assert np.corrcoef(_envelope(shifted), _envelope(sound))[0, 1] > 0.9


@pytest.mark.parametrize("factor", FACTORS)
def test_shifted_voice_has_the_pitch_times_the_factor(factor: float) -> None:
    time_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = np.sum([np.sin(2 * np.pi * 170 * k * time_s) / k for k in range(1, 5)], 0)
    shifted = shift_voice((0.2 * tone).astype(np.float32), factor)
    inner = shifted[SAMPLE_RATE_HZ // 2 : -SAMPLE_RATE_HZ // 2]
    spectrum = np.abs(np.fft.rfft(inner * np.hanning(len(inner)), 8 * len(inner)))
    strongest_hz = np.argmax(spectrum) / (8 * len(inner)) * SAMPLE_RATE_HZ
    # The sample rate is a whole number, and splices widen a line of 1 Hz to a few Hz.
    assert strongest_hz == pytest.approx(170 * factor, rel=0.02)


def test_silence_stays_silent() -> None:
    assert not shift_voice(np.zeros(SAMPLE_RATE_HZ, np.float32), 1.3).any()


def test_a_voice_of_the_same_random_state_is_the_same_and_of_another_is_not() -> None:
    sound = _bursts()
    first, again, other = (vary_voice(sound, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", range(4))
def test_varied_voices_keep_length_and_timing(seed: int) -> None:
    sound = _bursts()
    varied = vary_voice(sound, np.random.default_rng(seed))
    assert varied.shape == sound.shape
    assert varied.dtype == np.float32
    assert np.isfinite(varied).all()
    # A room's echo comes after its sound, so the middle of the loudness does too: up to half a frame.
    assert -5 <= _lag_ms(varied, sound) <= 20
