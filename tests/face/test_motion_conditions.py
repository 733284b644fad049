"""Motion conditions of landmarks that were moved in known ways."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.face.landmarks import face_width_px, mean_eye_opening
from openemo.face.motion_conditions import (
    MOTION_CONDITION_UNITS,
    MOTION_CONDITIONS,
    motion_conditions,
)

RNG = np.random.default_rng(2)
_UPPER, _LOWER = (159, 386), (145, 374)


def _face() -> np.ndarray:
    """478 random points, with eyes and cheeks at known positions so that widths are known."""
    points = RNG.uniform(80, 160, (478, 2))
    points[[234, 454]] = [[70, 120], [170, 120]]
    points[[33, 133, 362, 263]] = [[90, 100], [110, 100], [130, 100], [150, 100]]
    points[list(_UPPER)], points[list(_LOWER)] = [[100, 97], [140, 97]], [[100, 103], [140, 103]]
    return points


def test_a_face_as_in_the_reference_gives_zeros() -> None:
    face = _face()
    assert motion_conditions(face, face) == pytest.approx(np.zeros(len(MOTION_CONDITIONS)), abs=1e-5)


def test_closed_eyes_change_only_the_condition_for_eyes() -> None:
    face = _face()
    closed = face.copy()
    closed[list(_UPPER), 1] += 4  # the gap of 6 px falls to 2, over eyes of 20 px
    values = motion_conditions(face, closed)
    assert values[0] == pytest.approx(-4 / 20 / MOTION_CONDITION_UNITS[0], abs=1e-5)
    assert values[1:] == pytest.approx(np.zeros(4), abs=1e-5)
    assert mean_eye_opening(closed) == pytest.approx(0.1, abs=1e-9)


def test_head_motion_is_measured_in_face_widths_and_radians() -> None:
    face = _face()
    width = face_width_px(face)
    right, down, closer, roll = motion_conditions(face, face + np.array([0.03 * width, -0.05 * width]))[1:]
    assert (right, down) == pytest.approx((0.03 / 0.008, -0.05 / 0.008), rel=1e-4)
    assert (closer, roll) == pytest.approx((0, 0), abs=1e-4)

    angle, scale = 0.02, 1.05
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    values = motion_conditions(face, face @ turn.T)
    assert values[0] == pytest.approx(0, abs=1e-4)  # the lid gap over the eye's width is unchanged
    assert values[3] == pytest.approx(np.log(scale) / 0.006, rel=1e-4)
    assert values[4] == pytest.approx(angle / 0.004, rel=1e-4)  # clockwise, as y points down


def test_the_unit_of_length_does_not_matter() -> None:
    face, moved = _face(), _face()
    assert motion_conditions(face / 256, moved / 256) == pytest.approx(
        motion_conditions(face, moved), rel=1e-3, abs=1e-4
    )
