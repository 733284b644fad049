"""Measures of lip motion on curves with known answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.metrics.lips import best_lag, correlation, mouth_distance, score_lips, score_silence
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import mouth_opening

Clip = Callable[[NDArray[np.float64]], Observation]


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
    # Rounding can make the deviation of equal numbers a little more than zero.
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


def test_lag_is_limited_in_short_clips() -> None:
    # With 10 frames and a lag of 10 nothing would be left; two frames always correlate.
    assert abs(best_lag(_curve(10), _curve(10, seed=9))) <= 3


def test_mouth_beside_itself(clip: Clip, speech: NDArray[np.float64]) -> None:
    real = clip(speech)
    figures = score_lips(real, real)
    assert figures == pytest.approx(
        {
            "lip_r": 1,
            "lip_concordance": 1,
            "lip_lag_frames": 0,
            "lip_lag_r": 1,
            "lmd_mouth": 0,
            "lip_spread": real.curve(mouth_opening).std(),
            "lip_spread_ratio": 1,
        },
        abs=1e-6,  # float32 landmarks of a few hundred pixels
    )


def test_mouth_half_as_open_and_not_moving(clip: Clip, speech: NDArray[np.float64]) -> None:
    real = clip(speech)
    # The portrait's own lips are a little apart, so only the displacements scale.
    half = score_lips(clip(speech / 2), real)
    assert half["lip_spread_ratio"] == pytest.approx(0.5, rel=0.01)
    assert half["lip_r"] > 0.999
    still = score_lips(clip(np.full(70, 0.03)), real)
    assert still["lip_r"] == 0
    assert still["lip_spread"] == 0
    assert np.isnan([still["lip_lag_frames"], still["lip_lag_r"]]).all()


def test_mouth_distance_of_a_known_displacement(clip: Clip) -> None:
    """18 of the 40 landmarks of the mouth go down by 0.1 face widths; the fit sees none of them."""
    made, real = (clip(np.full(3, opening)).points_px for opening in (0.1, 0.0))
    assert mouth_distance(made, real) == pytest.approx(0.1 * 18 / 40, rel=1e-4)


def test_mouth_distance_ignores_place_size_and_tilt_but_not_frames_without_a_face(clip: Clip) -> None:
    points = clip(np.linspace(0, 0.1, 4)).points_px
    turn = np.array([[0.9, -0.3, 0], [0.3, 0.9, 0], [0, 0, 1]], np.float32)
    moved = points @ turn.T + np.float32(17)
    assert mouth_distance(moved, points) == pytest.approx(0, abs=1e-5)
    moved[2] = np.nan
    assert mouth_distance(moved, points) == pytest.approx(0, abs=1e-5)
    assert np.isnan(mouth_distance(moved[2:3], points[2:3]))


def test_silence_with_a_shut_and_with_a_babbling_mouth(clip: Clip) -> None:
    rest = float(clip(np.zeros(1)).curve(mouth_opening)[0])
    shut = score_silence(clip(np.full(8, -rest)))
    # The lips are not exactly above each other. Shut, they are a hundredth of a pixel apart.
    assert shut == pytest.approx(
        {"silence_opening": 0, "silence_spread": 0, "silence_open_share": 0}, abs=1e-4
    )
    babbling = score_silence(clip(np.array([-rest, 0.1 - rest] * 4)))
    assert babbling == pytest.approx(
        {"silence_opening": 0.05, "silence_spread": 0.05, "silence_open_share": 0.5}, rel=1e-3
    )
