"""The mouth's width, corners, jaw and closures on clips with known ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.metrics.mouth_shape import count_closures, find_closures, score_mouth_shape
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import face_width_px

Clip = Callable[[NDArray[np.float64]], Observation]
Curve = NDArray[np.float64]


def _mouth(
    clip: Clip, opening: Curve, *, wider: float | Curve = 0.0, chin: float | Curve = 0.0
) -> Observation:
    """The portrait with lips that are so far open, corners so much farther apart, a chin so much lower."""
    made = clip(np.zeros(len(opening)))
    points, width_px = made.points_px.copy(), face_width_px(made.points_px[0])
    points[:, 14] = points[:, 13]
    points[:, 14, 1] += (opening * width_px).astype(np.float32)
    points[:, 61, 0] -= np.float32(wider * width_px / 2)
    points[:, 291, 0] += np.float32(wider * width_px / 2)
    points[:, 152, 1] += np.float32(chin * width_px)
    return replace(made, points_px=points)


@pytest.fixture
def talk() -> Curve:
    """Three syllables of 0.4 s with the lips shut between them, and before and after."""
    syllable = 0.06 * np.sin(np.linspace(0, np.pi, 10))
    return np.concatenate([np.zeros(6), *[np.append(syllable, np.zeros(2))] * 3, np.zeros(4)])


def test_a_closure_is_where_an_open_mouth_is_most_shut() -> None:
    opening = np.full(40, 0.05)
    opening[10:13] = (0.011, 0.004, 0.009)
    opening[15] = 0.01  # 0.12 s after the first: the same one
    opening[25] = 0.013  # not shut
    opening[32] = np.nan
    opening[35] = 0.0
    assert find_closures(opening, 25.0).tolist() == [11, 35]
    assert find_closures(np.full(20, 0.05), 25.0).tolist() == []
    assert find_closures(np.full(9, np.nan), 25.0).tolist() == []


def test_a_mouth_beside_itself(clip: Clip, talk: Curve) -> None:
    real = _mouth(clip, talk, wider=-talk / 3, chin=talk / 2)
    figures = score_mouth_shape(real, real)
    assert figures["closure_share"] == 1
    assert figures["false_closure_share"] == 0
    for key in ("mouth_width_r", "jaw_r", "mouth_width_spread_ratio"):
        assert figures[key] == pytest.approx(1), key
    assert figures["mouth_corner_r"] == 0  # they do not move


def test_a_mouth_that_only_opens(clip: Clip, talk: Curve) -> None:
    real = _mouth(clip, talk, wider=-talk / 3, chin=talk / 2)
    lazy = score_mouth_shape(_mouth(clip, talk + 0.015, wider=-talk / 9, chin=-talk), real)
    assert lazy["closure_share"] == 0
    assert lazy["false_closure_share"] == 0
    assert lazy["mouth_width_r"] == pytest.approx(1, abs=1e-3)
    assert lazy["mouth_width_spread_ratio"] == pytest.approx(1 / 3, rel=1e-3)
    assert lazy["jaw_r"] == pytest.approx(-1, abs=1e-3)


def test_closures_within_two_frames_count_and_those_of_an_open_mouth_are_false(
    clip: Clip, talk: Curve
) -> None:
    real = _mouth(clip, talk)
    assert score_mouth_shape(_mouth(clip, np.roll(talk, 2)), real)["closure_share"] == 1
    opposite = score_mouth_shape(_mouth(clip, talk.max() - talk), real)
    assert opposite["false_closure_share"] == 1
    gone = score_mouth_shape(replace(real, points_px=np.full_like(real.points_px, np.nan)), real)
    assert all(np.isnan(value) for value in gone.values())


def test_closures_of_clips_add_up() -> None:
    """The real mouth shuts twice; ours once then, and once while it is open."""
    real, ours = np.full(50, 0.05), np.full(60, 0.05)
    real[[10, 30]] = 0.0
    ours[[12, 40, 55]] = 0.005  # the last one after the real clip's end
    found = count_closures(ours, real, 25.0)
    assert found == (2, 1, 2, 1)
    assert (found.share, found.false_share) == (0.5, 0.5)
    assert np.isnan(count_closures(np.full(9, 0.05), np.full(9, 0.05), 25.0).share)
