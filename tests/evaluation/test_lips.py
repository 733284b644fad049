"""Measures of lip motion on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.lips import LipScore, best_lag, correlation, summary


def _curve(length: int = 70, seed: int = 2) -> NDArray[np.float64]:
    """Like a mouth: smooth over a few frames, between 0 and 0.1."""
    noise = np.random.default_rng(seed).standard_normal(length + 4)
    return np.asarray(0.05 + 0.02 * np.convolve(noise, np.ones(5) / 5, "valid"))


def test_correlation_is_1_for_a_scaled_copy_and_minus_1_for_a_mirrored_one() -> None:
    real = _curve()
    assert correlation(0.3 * real + 0.01, real) == pytest.approx(1)
    assert correlation(-real, real) == pytest.approx(-1)
    assert abs(correlation(_curve(seed=3), real)) < 0.5  # chance, for about 70 / 5 independent values


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
def test_correlation_is_0_where_one_mouth_does_not_move(value: float) -> None:
    # A mean of equal numbers can be off by a rounding, so their standard deviation need not be 0.
    for length in range(2, 40):
        still = np.full(length, value)
        assert correlation(still, _curve(length)) == 0
        assert correlation(_curve(length), still) == 0


def test_correlation_counts_the_frames_that_both_have() -> None:
    real, made = _curve(), _curve()
    made[[3, 20]] = np.nan
    real[[20, 41]] = np.nan
    assert correlation(made, real) == pytest.approx(1)
    assert correlation(made[:31], real) == pytest.approx(1)
    assert correlation(np.full(9, np.nan), real) == 0
    assert correlation(np.array([]), real) == 0
    assert correlation(np.array([0.1]), real) == 0


@pytest.mark.parametrize("late", range(-3, 4))
def test_best_lag_is_positive_when_the_made_mouth_is_late(late: int) -> None:
    whole = _curve(80)
    real, made = whole[5:75], whole[5 - late : 75 - late]
    assert np.array_equal(made[10 + late], real[10])
    noisy = made + 0.002 * np.random.default_rng(4).standard_normal(len(made))
    noisy[[7, 30]] = np.nan
    assert best_lag(noisy, real) == late


def test_best_lag_of_a_still_mouth_is_0() -> None:
    assert best_lag(np.full(30, 0.1), _curve(30)) == 0


def test_summary_of_a_hand_example() -> None:
    scores = [
        LipScore("a.mp4", 0.8, 0, speech_spread=0.02, silence_spread=0.004, real_spread=0.04),
        LipScore("b.mp4", 0.5, -1, speech_spread=0.03, silence_spread=0.001, real_spread=0.03),
        LipScore("c.mp4", 0.2, 3, speech_spread=0.05, silence_spread=0.005, real_spread=0.04),
    ]
    assert summary(scores) == pytest.approx(
        {
            "clips": 3,
            "mean_correlation": 0.5,
            "lag_within_1": 2 / 3,
            "speech_over_real_spread": (0.5 + 1 + 1.25) / 3,
            "silence_over_speech_spread": 0.01 / 0.1,
        }
    )
