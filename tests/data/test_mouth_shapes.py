"""Mouths on faces: shut lips meet, o is narrow, i is wide, whatever the face, its tilt and its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.mouth_shapes import SpeakerStyle, load_shapes, speaking_points
from openemo.data.visemes import CONTROLS, VISEMES, Articulation
from openemo.errors import TrainingError
from openemo.face.landmarks import INNER_LIPS, STABLE, face_width_px, mouth_opening

Floats = NDArray[np.float64]
Shapes = dict[str, Floats]
PLAIN = SpeakerStyle()


def _hold(*names: str, scale: float = 1.0) -> Articulation:
    """The targets of visemes, one for each frame."""
    visemes = [VISEMES[name] for name in names]
    return Articulation(
        np.array([viseme.target for viseme in visemes]) * scale,
        np.array([float(viseme.shut) for viseme in visemes]),
        np.array([float(viseme.tucked) for viseme in visemes]),
    )


def _width(points: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(points[291] - points[61]))


def _lip_heights(points: NDArray[np.floating]) -> tuple[float, float]:
    return float(points[13, 1] - points[0, 1]), float(points[17, 1] - points[14, 1])


def _opened(face: Floats, by: float) -> Floats:
    """The face with its lower lip and chin down."""
    face = face.copy()
    face[[*INNER_LIPS[1:10], 17, 152], 1] += by
    return face


def test_lips_that_shut_meet_also_where_the_picture_has_them_apart(
    neutral_face: Floats, shapes: Shapes
) -> None:
    wide = _hold("a")
    shut = Articulation(wide.controls_FK, np.ones(1), np.zeros(1))
    for face in (neutral_face, _opened(neutral_face, 14.0)):
        width = face_width_px(face)
        pressed = speaking_points(face, shut, shapes, PLAIN)[0]
        gaps = pressed[list(INNER_LIPS[1:10]), 1] - pressed[list(INNER_LIPS[:10:-1]), 1]
        np.testing.assert_allclose(gaps, 0, atol=1e-3 * width)
        at_rest = speaking_points(face, _hold("pause"), shapes, PLAIN)[0]
        assert mouth_opening(at_rest) < 0.01
        pressed = speaking_points(face, _hold("m b p"), shapes, PLAIN)[0]
        assert sum(_lip_heights(pressed)) < 0.9 * sum(_lip_heights(at_rest))


def test_rounding_narrows_and_spreading_widens(neutral_face: Floats, shapes: Shapes) -> None:
    rest, o, u, i, s = speaking_points(neutral_face, _hold("pause", "o", "u", "i", "s z"), shapes, PLAIN)
    width = face_width_px(neutral_face)
    assert _width(o) < _width(rest) - 0.04 * width
    assert _width(u) < _width(rest) - 0.05 * width
    assert _width(i) > _width(rest) + 0.04 * width
    assert _width(s) > _width(rest) + 0.02 * width
    assert mouth_opening(u) < 0.5 * mouth_opening(o)
    # Pushed forward, lips show more of themselves.
    assert sum(_lip_heights(u)) > sum(_lip_heights(rest))


def test_a_opens_with_the_jaw_and_t_hardly_moves_it(neutral_face: Floats, shapes: Shapes) -> None:
    rest, a, t = speaking_points(neutral_face, _hold("pause", "a", "t d n l"), shapes, PLAIN)
    width = face_width_px(neutral_face)
    assert 0.09 < mouth_opening(a) < 0.15
    assert a[152, 1] - rest[152, 1] > 0.07 * width
    assert t[152, 1] - rest[152, 1] < 0.035 * width


def test_f_brings_the_lower_lip_under_the_upper_teeth(neutral_face: Floats, shapes: Shapes) -> None:
    rest, f = speaking_points(neutral_face, _hold("pause", "f v"), shapes, PLAIN)
    assert 0.008 < mouth_opening(f) < 0.02
    assert _lip_heights(f)[1] < 0.8 * _lip_heights(rest)[1]  # rolled in
    assert f[0, 1] < rest[0, 1]  # off the teeth


@pytest.mark.parametrize("scale", [0.3, 1.0, 1.6])
def test_lips_never_cross(neutral_face: Floats, shapes: Shapes, scale: float) -> None:
    for face in (neutral_face, _opened(neutral_face, 9.0)):
        moved = speaking_points(face, _hold(*VISEMES, scale=scale), shapes, PLAIN)
        gaps = moved[:, list(INNER_LIPS[1:10]), 1] - moved[:, list(INNER_LIPS[:10:-1]), 1]
        assert gaps.min() > -1e-3 * face_width_px(face)


def test_a_face_that_leans_and_is_larger_speaks_the_same(neutral_face: Floats, shapes: Shapes) -> None:
    angle, scale = np.radians(17), 1.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    leaning = np.concatenate([neutral_face[:, :2] @ turn.T, scale * neutral_face[:, 2:]], 1)
    spoken = _hold("a", "i", "o", "m b p", "f v")
    upright = speaking_points(neutral_face, spoken, shapes, PLAIN)
    tilted = speaking_points(leaning, spoken, shapes, PLAIN)
    # The head's own yaw, which the pose reads, does not change by leaning.
    np.testing.assert_allclose(tilted, upright @ turn.T, atol=0.02 * face_width_px(neutral_face))


def test_in_a_pause_a_closed_face_stays_as_it_is_and_the_skull_always(
    neutral_face: Floats, shapes: Shapes
) -> None:
    rest, a, i = speaking_points(neutral_face, _hold("pause", "a", "i"), shapes, PLAIN)
    np.testing.assert_allclose(rest, neutral_face[:, :2], atol=2e-3 * face_width_px(neutral_face))
    for moved in (a, i):
        stable = list(STABLE)
        np.testing.assert_allclose(moved[stable], rest[stable], atol=0.01 * face_width_px(neutral_face))


def test_a_style_scales_what_it_names(neutral_face: Floats, shapes: Shapes) -> None:
    rest, i, o = speaking_points(neutral_face, _hold("pause", "i", "o"), shapes, PLAIN)
    _, spread, _ = speaking_points(
        neutral_face, _hold("pause", "i", "o"), shapes, SpeakerStyle(spreading=1.3)
    )
    _, _, rounded = speaking_points(
        neutral_face, _hold("pause", "i", "o"), shapes, SpeakerStyle(rounding=1.3)
    )
    assert _width(spread) > _width(i) + 0.01 * face_width_px(neutral_face)
    assert _width(rounded) < _width(o) - 0.01 * face_width_px(neutral_face)
    uneven = speaking_points(neutral_face, _hold("i"), shapes, SpeakerStyle(one_sided=0.2))[0]
    left, right = (abs(uneven[k, 0] - rest[k, 0]) for k in (291, 61))
    assert left > 1.2 * right
    drawn = [SpeakerStyle.draw(np.random.default_rng(seed)) for seed in range(200)]
    assert np.median([style.opening for style in drawn]) == pytest.approx(1, abs=0.05)
    assert max(abs(style.one_sided) for style in drawn) <= 0.25


def test_each_control_moves_something(neutral_face: Floats, shapes: Shapes) -> None:
    controls = np.eye(len(CONTROLS)) * 0.3
    moved = speaking_points(neutral_face, Articulation(controls, np.zeros(6), np.zeros(6)), shapes, PLAIN)
    ways = np.abs(moved - neutral_face[:, :2]).max((1, 2)) / face_width_px(neutral_face)
    assert (ways > 0.01).all()


def test_a_file_that_is_no_basis_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "basis.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="no face shapes can be read"):
        load_shapes(path)
    with path.open("wb") as file:
        np.savez(file, names=np.array(["jawOpen"]), displacement=np.zeros((2, 478, 3), np.float32))
    with pytest.raises(TrainingError, match="do not belong together"):
        load_shapes(path)
