from __future__ import annotations

import numpy as np
import pytest

from openemo.audio.loudness import normalise_loudness

RATE_HZ = 16_000


def noise(seconds: float, level_dbfs: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    rng = np.random.default_rng(3)
    return (rng.normal(size=round(seconds * RATE_HZ)) * 10 ** (level_dbfs / 20)).astype(np.float32)


def rms_dbfs(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("level_dbfs", [-50.0, -30.0, -10.0])
def test_level_does_not_matter(level_dbfs: float) -> None:
    # The block powers of random noise vary by some hundredths of a dB; the gain itself is exact.
    assert rms_dbfs(normalise_loudness(noise(5, level_dbfs), RATE_HZ)) == pytest.approx(-23, abs=0.05)


def test_pauses_do_not_count() -> None:
    speech = noise(2, -30)
    paused = np.concatenate([speech, np.zeros(4 * RATE_HZ, np.float32), speech])
    assert rms_dbfs(normalise_loudness(paused, RATE_HZ)[: speech.size]) == pytest.approx(-23, abs=0.05)


def test_gain_is_limited() -> None:
    assert rms_dbfs(normalise_loudness(noise(3, -58), RATE_HZ)) == pytest.approx(-28, abs=0.05)


@pytest.mark.parametrize("level_dbfs", [-200.0, -80.0, -63.0])
def test_silence_is_left_alone(level_dbfs: float) -> None:
    quiet = noise(3, level_dbfs)
    np.testing.assert_array_equal(normalise_loudness(quiet, RATE_HZ), quiet)


@pytest.mark.parametrize("num_samples", [0, 1, 100, 6_401])
def test_any_length(num_samples: int) -> None:
    assert normalise_loudness(np.full(num_samples, 0.5, np.float32), RATE_HZ).shape == (num_samples,)
