"""A smile is read from the mouth's width and curve at any roll, and undone in the lower face alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.behaviour.expression_shapes import EMOTIONS, expression_displacement
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS
from openemo.face.square_sampling import rotation_matrix
from openemo.rendering.landmark_flow import FLOW_POINTS
from openemo.rendering.neutral_face import Smile, move_face, read_smile, relaxing_motion

Floats = NDArray[np.float64]
SIDE = 240.0


@pytest.fixture
def face(toy_face: Floats) -> Floats:
    """(478, 2) px, the mouth as wide as at rest."""
    points = toy_face[:, :2] * SIDE
    width = np.linalg.norm(points[234] - points[454])
    lips = [*INNER_LIPS, *OUTER_LIPS]
    points[lips, 0] = 0.5 * SIDE + (points[lips, 0] - 0.5 * SIDE) * 0.389 * width / (0.18 * SIDE)
    return np.asarray(points)


def _smiling(face: Floats, strength: float) -> Floats:
    strengths = strength * (np.array(EMOTIONS) == "happy")
    return face + expression_displacement(strengths, face)


def test_strengths_of_happy_are_read(face: Floats) -> None:
    read = [read_smile(_smiling(face, strength)).strength for strength in (0, 0.5, 1)]
    assert np.diff(read) == pytest.approx([0.5, 0.5], abs=0.12)


def test_the_reading_does_not_depend_on_scale_and_roll(face: Floats) -> None:
    points = _smiling(face, 0.7)
    turned = 3 * points @ rotation_matrix(np.radians(140)).T + (7, -30)
    here, there = read_smile(points), read_smile(turned)
    assert there.width == pytest.approx(here.width)
    assert there.curve == pytest.approx(here.curve)


def test_most_of_a_smile_is_undone_below_the_eyes(face: Floats) -> None:
    points = _smiling(face, 0.8)
    before, after = relaxing_motion(points, read_smile(points))
    np.testing.assert_array_equal(before, points[FLOW_POINTS])
    relaxed = points.copy()
    relaxed[FLOW_POINTS] = after
    assert read_smile(relaxed).strength == pytest.approx(0.3 * read_smile(points).strength, abs=0.12)
    above = FLOW_POINTS[points[FLOW_POINTS, 1] < points[[33, 263], 1].mean()]
    assert len(above) > 30
    np.testing.assert_array_equal(relaxed[above], points[above])


def test_lips_that_closing_bent_straight_keep_a_part_of_the_photo_s_curve(face: Floats) -> None:
    _, after = relaxing_motion(face, Smile(width=0.0, curve=1.0))
    relaxed = face.copy()
    relaxed[FLOW_POINTS] = after
    gained = read_smile(relaxed).curve - read_smile(face).curve
    assert gained == pytest.approx(0.3 - read_smile(face).curve, abs=0.15)


def test_a_crooked_smile_becomes_even(face: Floats) -> None:
    points = _smiling(face, 0.8)
    even = read_smile(points).uneven
    for corner, rise in ((61, -0.012), (291, 0.012)):  # face widths down
        points[corner, 1] -= rise * np.linalg.norm(points[234] - points[454])
    smile = read_smile(points)
    assert smile.uneven - even == pytest.approx(0.024 / 0.042, abs=0.01)
    relaxed = points.copy()
    relaxed[FLOW_POINTS] = relaxing_motion(points, smile)[1]
    assert abs(read_smile(relaxed).uneven) < 0.45 * smile.uneven


def test_lips_are_fuller_without_the_smile(face: Floats) -> None:
    points = _smiling(face, 0.8)
    relaxed = points.copy()
    relaxed[FLOW_POINTS] = relaxing_motion(points, read_smile(points))[1]
    for outer, inner, share in ((0, 13, 0.17), (17, 14, 0.08)):
        before, after = (abs(each[outer, 1] - each[inner, 1]) for each in (points, relaxed))
        assert 1 + 0.3 * share < after / before < 1 + share


def test_a_motion_of_nothing_keeps_every_pixel(face: Floats) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (240, 240, 3), np.uint8)
    np.testing.assert_array_equal(move_face(picture, face, (face, face)), picture)
