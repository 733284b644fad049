"""Blinks, head motion and expression on curves and landmarks with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.face_tracks import face_tracks
from openemo.evaluation.metrics.life import (
    expression_spread,
    find_blinks,
    head_speeds_deg_s,
    score_blinks,
    score_life,
    score_tracks,
)
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import face_width_px
from tests.evaluation.turned_landmarks import turned

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
    starts, durations = find_blinks(_eye({10: 3, 40: 1, 77: 6}, usual=usual), 25).T
    np.testing.assert_allclose(starts, [10 / 25, 40 / 25, 77 / 25])
    np.testing.assert_allclose(durations, [4 / 25, 2 / 25, 7 / 25])  # with the half-open frame after it
    assert not len(find_blinks(_eye({}, usual=usual), 25))
    assert not len(find_blinks(_eye({20: 30}, usual=usual), 25))  # closed too long for a blink


def test_an_eye_that_trembles_while_shut_blinks_once() -> None:
    opening = _eye({30: 7})
    opening[33] = 0.2  # above the one threshold, below the other
    assert len(find_blinks(opening, 25)) == 1


def test_blinks_pass_over_frames_without_a_face() -> None:
    opening = _eye({10: 3, 94: 2})
    opening[50:90] = np.nan
    np.testing.assert_allclose(find_blinks(opening, 25)[:, 0], [10 / 25, 94 / 25])
    assert not len(find_blinks(np.full(9, np.nan), 25))


def test_blink_figures_of_known_blinks() -> None:
    figures = score_blinks(_eye({25: 3, 75: 3, 125: 3, 225: 3}, length=300), 25)
    assert figures["blinks_per_min"] == pytest.approx(4 * 60 / 12)
    assert figures["blink_first_s"] == 1
    assert figures["blink_duration_s"] == pytest.approx(4 / 25)
    assert figures["blink_interval_cv"] == pytest.approx(np.std([2, 2, 4]) / (8 / 3))
    few = score_blinks(_eye({25: 3, 75: 3}), 25)
    assert np.isnan(few["blink_interval_cv"])  # one interval has no spread
    assert np.isnan(score_blinks(_eye({}), 25)["blink_first_s"])


def test_blink_rate_counts_the_seconds_that_were_seen(clip: Clip) -> None:
    seen = clip(np.zeros(50))
    points = seen.points_px.copy()
    for upper, lower in ((159, 145), (386, 374)):
        points[20:23, upper] = points[20:23, lower]
    points[40:] = np.nan
    assert score_life(replace(seen, points_px=points))["blinks_per_min"] == pytest.approx(60 / (40 / 25))
    unseen = score_tracks(face_tracks(np.full_like(points, np.nan), 25))
    assert all(np.isnan(value) for value in unseen.values())


def test_head_range_and_speed_of_a_known_turn(clip: Clip) -> None:
    """The landmarks lean by 0.4 degrees a frame: 10 degrees a second."""
    seen = clip(np.zeros(51))
    points = turned(seen.points_px, np.outer(np.arange(51), [0, 0, 0.4]))
    figures = score_life(replace(seen, points_px=points))
    assert figures["head_roll_range_deg"] == pytest.approx(0.4 * 46, abs=0.05)  # 5 frames are one
    assert figures["head_speed_deg_s"] == pytest.approx(10, rel=0.01)
    assert figures["head_yaw_range_deg"] < 0.1
    assert score_life(seen)["head_speed_deg_s"] == 0


def test_range_is_the_median_over_windows_of_eight_seconds(clip: Clip) -> None:
    """Twelve seconds of yaw: six of 4 degrees, six of 8."""
    wave = np.sin(np.arange(300) / 8) * np.repeat([2, 4], 150)
    points = turned(clip(np.zeros(300)).points_px, np.outer(wave, [1, 0, 0]))
    figures = score_tracks(face_tracks(points, 25))
    assert figures["head_yaw_range_deg"] == pytest.approx(6, rel=0.04)  # smoothing takes 3 %
    assert figures["head_pitch_range_deg"] < 0.3


def test_translation_is_in_face_widths(clip: Clip) -> None:
    seen = clip(np.zeros(60))
    width = face_width_px(seen.points_px[0])
    points = seen.points_px.copy()
    points[:, :, 0] += np.repeat([0, 0.3, 0], 20).astype(np.float32)[:, None] * width
    points[:, :, 1] += np.repeat([0, 0.4, 0], 20).astype(np.float32)[:, None] * width
    figures = score_life(replace(seen, points_px=points))
    assert figures["head_translation"] == pytest.approx(0.5, rel=1e-3)
    assert figures["brow_spread"] < 1e-5


def test_speed_is_not_the_jitter_of_the_landmarks() -> None:
    # Independent noise of 0.1 degrees at 25 fps would be 0.1 * sqrt(2) * 25 * 1.6 = 5.6 deg/s unsmoothed.
    noise = np.random.default_rng(1).normal(0, 0.1, (200, 3))
    assert head_speeds_deg_s(noise, 25).mean() < 1.6


def test_expression_spread_is_the_mean_deviation_without_the_neutral_one() -> None:
    shapes = np.zeros((8, 52), np.float32)
    shapes[::2, 25] = 0.51
    shapes[::2, 0] = 1
    assert expression_spread(shapes) == pytest.approx(0.51 / 2 / 51)
    shapes[3] = np.nan
    assert expression_spread(shapes) > 0
    assert np.isnan(expression_spread(np.full((2, 52), np.nan)))
