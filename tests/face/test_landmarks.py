"""Landmark geometry on a synthetic head that can be turned by known angles."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import landmarks
from openemo.face.landmarks import eye_opening, face_width_px, head_pose, mouth_opening


def _head() -> NDArray[np.float64]:
    """478 points; those that are measured form a symmetric head that looks straight, 200 px wide."""
    points = np.random.default_rng(3).normal(0, 30, (478, 3))
    for right, left, x, y, z in (
        (234, 454, 100, 0, 60),
        (33, 263, 60, -30, 10),
        (127, 356, 98, -30, 60),
        (93, 323, 95, 30, 55),
        (61, 291, 30, 60, -5),
        (133, 362, 20, -30, 5),
    ):
        points[right], points[left] = (-x, y, z), (x, y, z)
    points[10], points[152] = (0, -110, 0), (0, 120, 0)
    points[13], points[14] = (0, 55, -10), (0, 71, -10)
    points[159], points[145] = (-40, -36, 0), (-40, -24, 0)
    points[386], points[374] = (40, -30, 0), (40, -30, 0)
    return points


def _rotation(yaw_deg: float, pitch_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """Nose to the picture's right, nose up, head clockwise; y points down and z away."""
    yaw, pitch, roll = np.radians([yaw_deg, pitch_deg, roll_deg])
    about_y = [[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    return np.array(about_z) @ np.array(about_x) @ np.array(about_y)


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (25, 0, 0), (0, -17, 0), (0, 0, 31), (-40, 12, -20), (8, 20, 60)]
)
def test_head_pose_returns_the_angles_the_head_was_turned_by(angles: tuple[float, float, float]) -> None:
    pose = head_pose(_head() @ _rotation(*angles).T * 1.7 + (300, 200, -40))
    np.testing.assert_allclose((pose.yaw_deg, pose.pitch_deg, pose.roll_deg), angles, atol=1e-6)


def test_rotation_signs_are_those_of_the_docstring() -> None:
    nose = np.array([0.0, 0.0, -1.0])
    assert (_rotation(30, 0, 0) @ nose)[0] > 0  # to the picture's right
    assert (_rotation(0, 30, 0) @ nose)[1] < 0  # up
    assert (_rotation(0, 0, 30) @ np.array([0.0, -1.0, 0.0]))[0] > 0  # the crown moves right: clockwise


def test_openings_of_a_known_head_do_not_depend_on_its_size() -> None:
    for scale in (0.3, 1.0, 5.0):
        points = _head() * scale
        assert face_width_px(points) == pytest.approx(200 * scale)
        assert mouth_opening(points) == pytest.approx(16 / 200)
        assert eye_opening(points) == pytest.approx((12 / 40, 0.0))


def test_index_sets_are_distinct_points_of_the_mesh() -> None:
    names = (
        "INNER_LIPS",
        "OUTER_LIPS",
        "LEFT_EYE",
        "RIGHT_EYE",
        "BROWS",
        "NOSE",
        "FACE_OVAL",
        "STABLE",
        "LEFT_IRIS",
        "RIGHT_IRIS",
    )
    for name in names:
        indices = getattr(landmarks, name)
        assert len(set(indices)) == len(indices), name
        assert set(indices) <= set(range(landmarks.NUM_POINTS)), name
    lips = set(landmarks.INNER_LIPS) | set(landmarks.OUTER_LIPS)
    assert not lips & set(landmarks.STABLE)
    assert {13, 14} <= set(landmarks.INNER_LIPS)
