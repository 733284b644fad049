"""Displacements of landmarks: none for no strength, alike at any scale and roll, in the right direction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.behaviour.expression_shapes import EMOTIONS, brow_displacement, expression_displacement, eye_gaps
from openemo.data.driven import warp_picture
from openemo.face import CropRegion, FaceAnalyzer
from openemo.face.landmarks import (
    BROWS,
    LEFT_EYE,
    LEFT_IRIS,
    LIDS,
    RIGHT_EYE,
    RIGHT_IRIS,
    STABLE,
    mouth_opening,
)
from openemo.face.similarity import fit_similarity
from openemo.face.square_sampling import rotation_matrix
from openemo.rendering.landmark_flow import face_flow
from openemo.video.images import read_image

Floats = NDArray[np.float64]
INNER_BROWS, MOUTH_CORNERS = [107, 336], [61, 291]
SIDE = 300.0


def _strengths(**strengths: float) -> Floats:
    return np.array([strengths.get(name, 0.0) for name in EMOTIONS])


@pytest.fixture
def face(toy_face: Floats) -> Floats:
    """(478, 3) px, upright."""
    face = np.asarray(toy_face * SIDE, np.float64)
    face[[33, 263], 1] = face[[33, 263], 1].mean()
    return face


def _down(face: Floats, landmarks: list[int], **strengths: float) -> float:
    """Mean way of landmarks downwards, in sides."""
    return float(expression_displacement(_strengths(**strengths), face)[landmarks, 1].mean() / SIDE)


@pytest.mark.parametrize("speaks", [True, False])
def test_no_strength_moves_nothing(face: Floats, speaks: bool) -> None:
    assert not expression_displacement(_strengths(), face, speaks=speaks).any()
    assert not brow_displacement(0, face).any()


def test_strengths_add_up(face: Floats) -> None:
    both = expression_displacement(_strengths(happy=0.5, surprised=1), face)
    happy, surprised = (
        expression_displacement(_strengths(**{name: 1}), face) for name in ("happy", "surprised")
    )
    np.testing.assert_allclose(both, 0.5 * happy + surprised, atol=1e-9)
    np.testing.assert_allclose(brow_displacement(0.03, face), 3 * brow_displacement(0.01, face), atol=1e-9)


def test_a_similarity_of_the_face_moves_the_displacement_along(face: Floats) -> None:
    matrix = 1.7 * rotation_matrix(np.radians(35))
    turned = face[:, :2] @ matrix.T + (40, -15)
    mixture = np.linspace(0.1, 0.7, 7)
    expression, expression_turned = (expression_displacement(mixture, one) for one in (face, turned))
    brows, brows_turned = (brow_displacement(-0.02, one) for one in (face, turned))
    np.testing.assert_allclose(expression_turned, expression @ matrix.T, atol=1e-9)
    np.testing.assert_allclose(brows_turned, brows @ matrix.T, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in EMOTIONS if name != "smug"])
def test_both_sides_move_alike(face: Floats, name: str) -> None:
    moved = expression_displacement(_strengths(**{name: 1}), face)
    for right, left in ((107, 336), (61, 291), (50, 280)):
        np.testing.assert_allclose(moved[left], moved[right] * [-1, 1], atol=2e-4 * SIDE)


def test_a_smug_mouth_is_one_sided(face: Floats) -> None:
    right, left = expression_displacement(_strengths(smug=1), face)[MOUTH_CORNERS]
    assert abs(left[0]) > 1.3 * abs(right[0])


def test_emotions_move_brows_and_corners_of_the_mouth(face: Floats) -> None:
    assert _down(face, list(BROWS), surprised=1) < -0.005
    assert _down(face, list(BROWS), afraid=1) < -0.005
    assert _down(face, list(BROWS), angry=1) > 0.005
    assert _down(face, list(BROWS), disgusted=1) > 0.005
    assert _down(face, INNER_BROWS, sad=1) < -0.005 < 0.002 < _down(face, [46, 276], sad=1)
    assert _down(face, MOUTH_CORNERS, happy=1) < -0.01
    assert _down(face, MOUTH_CORNERS, sad=1) > 0.004
    happy = expression_displacement(_strengths(happy=1), face)
    assert happy[61, 0] < -0.01 * SIDE < 0.01 * SIDE < happy[291, 0]


def test_eyes_widen_and_narrow_by_a_share_of_their_height(face: Floats) -> None:
    def change(points: Floats, name: str) -> Floats:
        moved = points[:, :2] + expression_displacement(_strengths(**{name: 1}), points)
        return eye_gaps(moved) / eye_gaps(points)

    assert (change(face, "surprised") > 1.15).all()
    assert (change(face, "disgusted") < 0.9).all()
    small = face.copy()
    for corner, lower in ((159, 145), (386, 374)):
        small[corner] = small[lower] + 0.2 * (face[corner] - face[lower])
    assert (change(small, "disgusted") > 0.2).all()


@pytest.mark.parametrize("name", EMOTIONS)
def test_lips_that_speak_keep_their_distance(face: Floats, name: str) -> None:
    moved = face[:, :2] + expression_displacement(_strengths(**{name: 1}), face)
    assert mouth_opening(moved) == pytest.approx(mouth_opening(face), abs=0.001)


def test_a_silent_surprised_mouth_opens(face: Floats) -> None:
    moved = face[:, :2] + expression_displacement(_strengths(surprised=1), face, speaks=False)
    assert mouth_opening(moved) > 0.08


def test_irises_stay(face: Floats) -> None:
    moved = expression_displacement(np.ones(len(EMOTIONS)), face)
    assert not moved[[*RIGHT_IRIS, *LEFT_IRIS]].any()


@pytest.mark.parametrize("raised", [0.02, -0.02])
def test_brows_rise_by_what_is_asked(face: Floats, raised: float) -> None:
    moved = brow_displacement(raised, face)
    width = np.linalg.norm(face[234, :2] - face[454, :2])
    assert -moved[list(BROWS), 1].mean() == pytest.approx(raised * width, rel=1e-3)
    assert np.abs(moved[[13, 14, 152]]).max() < 0.01 * abs(raised) * width


@pytest.mark.slow
def test_the_network_reads_each_emotion_back_from_brows_and_eyes(
    shared_dir: Path, face_analyzer: FaceAnalyzer
) -> None:
    """Three portraits, warped: the nearest emotion of a silent face is the one that was asked for."""
    upper, stable, side = [*BROWS, *RIGHT_EYE, *LEFT_EYE, *LIDS], list(STABLE), 384
    named = 0
    for path in sorted((shared_dir / "data/portraits/congress").iterdir())[5:250:96]:
        picture = read_image(path)
        crop = CropRegion.around(face_analyzer.find(picture), 1.6).extract(picture, side)
        points = face_analyzer.find(crop).points_px[:, :2].astype(np.float64)
        means = [expression_displacement(one, points, speaks=False)[upper] for one in np.eye(len(EMOTIONS))]
        for index, strengths in enumerate(np.eye(len(EMOTIONS))):
            moved = points + expression_displacement(strengths, points)
            warped = warp_picture(crop, face_flow(points / side, moved / side, 128))
            found = face_analyzer.find(warped).points_px[:, :2].astype(np.float64)
            read = (fit_similarity(found[stable], points[stable])(found) - points)[upper]
            named += int(np.argmin([np.linalg.norm(read - mean) for mean in means])) == index
    assert named >= 18  # of 21
