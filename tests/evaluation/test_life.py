"""Blinks, head motion and expression on curves and landmarks with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.metrics.life import (
    blinks_per_min,
    count_blinks,
    expression_spread,
    head_angles_deg,
    head_speed_deg_s,
    score_life,
)
from openemo.evaluation.observation import Observation

Clip = Callable[[NDArray[np.float64]], Observation]


def _eye(blinks: dict[int, int], length: int = 100, usual: float = 0.3) -> NDArray[np.float64]:
    """An eye that shuts at each key for so many frames, with a half-open frame before and after."""
    opening = np.full(length, usual) + 0.005 * np.sin(np.arange(length))
    for start, frames in blinks.items():
        opening[start - 1 : start + frames + 1] = 0.7 * usual
        opening[start : start + frames] = 0.1 * usual
    return opening


@pytest.mark.parametrize("usual", [0.18, 0.35])
def test_blinks_are_short_closures_whatever_the_eye(usual: float) -> None:
    assert count_blinks(_eye({10: 3, 40: 1, 77: 6}, usual=usual), 25) == 3
    assert count_blinks(_eye({}, usual=usual), 25) == 0
    assert count_blinks(_eye({20: 30}, usual=usual), 25) == 0  # closed too long for a blink


def test_an_eye_that_trembles_while_shut_blinks_once() -> None:
    opening = _eye({30: 7})
    opening[33] = 0.2  # above the one threshold, below the other
    assert count_blinks(opening, 25) == 1


def test_blinks_pass_over_frames_without_a_face() -> None:
    opening = _eye({10: 3})
    opening[50:90] = np.nan
    assert count_blinks(opening, 25) == 1
    assert count_blinks(np.full(9, np.nan), 25) == 0


def test_blink_rate_counts_the_seconds_that_were_seen(clip: Clip) -> None:
    seen = clip(np.zeros(50))
    points = seen.points_px.copy()
    for upper, lower in ((159, 145), (386, 374)):
        points[20:23, upper] = points[20:23, lower]
    points[40:] = np.nan
    assert blinks_per_min(replace(seen, points_px=points)) == pytest.approx(60 / (40 / 25))
    assert np.isnan(blinks_per_min(replace(seen, points_px=np.full_like(points, np.nan))))


def test_head_range_and_speed_of_a_known_turn(clip: Clip) -> None:
    """The landmarks lean by 0.4 degrees a frame: 10 degrees a second."""
    seen = clip(np.zeros(51))
    points = seen.points_px.copy()
    for index, angle in enumerate(np.radians(0.4 * np.arange(51))):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points[index, :, :2] = points[index, :, :2] @ turn.T
    leaning = replace(seen, points_px=points)
    figures = score_life(leaning)
    assert figures["head_roll_range_deg"] == pytest.approx(0.9 * 20, abs=0.05)
    assert figures["head_speed_deg_s"] == pytest.approx(10, rel=0.01)
    assert figures["head_yaw_range_deg"] < 0.1
    assert score_life(seen)["head_speed_deg_s"] == 0


def test_speed_is_not_the_jitter_of_the_landmarks() -> None:
    # Independent noise of 0.1 degrees at 25 fps would be 0.1 * sqrt(2) * 25 * 1.6 = 5.6 deg/s unsmoothed.
    noise = np.random.default_rng(1).normal(0, 0.1, (200, 3))
    assert head_speed_deg_s(noise, 25) < 1.6


def test_frames_without_a_face_have_no_angles(clip: Clip) -> None:
    seen = clip(np.zeros(4))
    points = seen.points_px.copy()
    points[1] = np.nan
    angles = head_angles_deg(replace(seen, points_px=points))
    assert np.isnan(angles[1]).all()
    assert np.isfinite(angles[[0, 2, 3]]).all()


def test_expression_spread_is_the_mean_deviation_without_the_neutral_one() -> None:
    shapes = np.zeros((8, 52), np.float32)
    shapes[::2, 25] = 0.51
    shapes[::2, 0] = 1
    assert expression_spread(shapes) == pytest.approx(0.51 / 2 / 51)
    shapes[3] = np.nan
    assert expression_spread(shapes) > 0
    assert np.isnan(expression_spread(np.full((2, 52), np.nan)))
