"""Parts of a face that move by known amounts, while the head turns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.face_tracks import face_tracks, smoothed, without_head
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import BROWS, LEFT_IRIS, RIGHT_IRIS, STABLE, face_width_px
from tests.evaluation.turned_landmarks import turned

Clip = Callable[[NDArray[np.float64]], Observation]
FRAMES = 40
WAVE = np.sin(np.arange(FRAMES) / 5).astype(np.float32)


@pytest.fixture
def points(portrait: Observation) -> NDArray[np.float32]:
    """A still, upright face that looks straight ahead."""
    tracks = face_tracks(portrait.points_px, 25)
    back = turned(portrait.points_px, np.array([[0, 0, -tracks.head_deg_F3[0, 2]]]))
    return np.repeat(back, FRAMES, axis=0)


def nodding(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return turned(points, np.stack([8 * WAVE[::-1], 10 * WAVE, 6 * np.roll(WAVE, 9)], axis=1))


def width(points: NDArray[np.float32]) -> float:
    return face_width_px(points[0])


def test_angles_are_those_of_the_turn(points: NDArray[np.float32]) -> None:
    """Each axis alone: angles about several axes do not add up."""
    usual = face_tracks(points[:1], 25).head_deg_F3[0]
    for axis in range(3):
        angles = np.zeros((FRAMES, 3))
        angles[:, axis] = 10 * WAVE
        head = face_tracks(turned(points, angles), 25).head_deg_F3
        assert np.ptp(head[:, axis]) == pytest.approx(20, rel=0.02)
        np.testing.assert_allclose(head[:, axis] - usual[axis], 10 * WAVE, atol=0.3)


def test_a_turning_head_moves_nothing_else(points: NDArray[np.float32]) -> None:
    tracks = face_tracks(nodding(points), 25)
    assert np.ptp(tracks.head_deg_F3, axis=0).min() > 10
    for track in (tracks.brows_F, tracks.mouth_width_F, tracks.corners_F, tracks.jaw_F, *tracks.gaze_F2.T):
        assert np.ptp(track) < 1e-4
    assert np.ptp(tracks.cheeks_FP2, axis=0).max() < 1e-4
    assert np.ptp(tracks.folds_FP2, axis=0).max() < 1e-4


def test_raised_brows_are_read_in_face_widths(points: NDArray[np.float32]) -> None:
    raised = points.copy()
    raised[:, list(BROWS), 1] -= 0.01 * width(points) * WAVE[:, None]
    for moved in (raised, nodding(raised)):
        brows = face_tracks(moved, 25).brows_F
        # In a head that is not seen from the front, up and down are shorter by its cosine.
        np.testing.assert_allclose(brows - brows.mean(), 0.01 * (WAVE - WAVE.mean()), atol=4e-4)


def test_gaze_is_where_the_irises_are(points: NDArray[np.float32]) -> None:
    moved = points.copy()
    irises = [*LEFT_IRIS, *RIGHT_IRIS]
    moved[:, irises, 0] += 0.02 * width(points) * WAVE[:, None]
    gaze = face_tracks(moved, 25).gaze_F2
    np.testing.assert_allclose(gaze[:, 0] - gaze[:, 0].mean(), 0.02 * (WAVE - WAVE.mean()), atol=5e-4)
    assert np.ptp(gaze[:, 1]) < 0.004  # the eyes' axes are not quite level
    moved = points.copy()
    moved[:, irises, 1] += 0.01 * width(points) * WAVE[:, None]
    gaze = face_tracks(moved, 25).gaze_F2
    np.testing.assert_allclose(gaze[:, 1] - gaze[:, 1].mean(), 0.01 * (WAVE - WAVE.mean()), atol=5e-4)


@pytest.mark.parametrize(
    ("landmarks", "offset", "track"),
    [((61,), (-1, 0), "mouth_width_F"), ((61, 291), (0, 1), "corners_F"), ((152,), (0, 1), "jaw_F")],
)
def test_mouth_and_jaw_are_read_in_face_widths(
    points: NDArray[np.float32], landmarks: tuple[int, ...], offset: tuple[int, int], track: str
) -> None:
    moved = points.copy()
    shift = 0.02 * width(points) * WAVE[:, None, None] * np.array(offset, np.float32)
    moved[:, list(landmarks), :2] += shift
    curve = getattr(face_tracks(moved, 25), track)
    np.testing.assert_allclose(curve - curve.mean(), 0.02 * (WAVE - WAVE.mean()), atol=5e-4)


def test_still_face_is_centred_upright_and_one_wide(points: NDArray[np.float32]) -> None:
    leaning = turned(points, np.tile([0, 0, 20.0], (FRAMES, 1))) * 1.5 + 40
    still = without_head(leaning)
    assert face_width_px(still[7]) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(still[:, list(STABLE)].mean(axis=1), 0, atol=1e-6)
    assert abs(face_tracks(still, 25).head_deg_F3[:, 2]).max() < 0.01


def test_frames_without_a_face_have_no_tracks(points: NDArray[np.float32]) -> None:
    points[3] = np.nan
    tracks = face_tracks(points, 25)
    for track in (tracks.head_deg_F3, tracks.brows_F, tracks.gaze_F2, tracks.eye_opening_F, tracks.folds_FP2):
        assert np.isnan(track[3]).all()
        assert np.isfinite(track[[2, 4]]).all()
    nothing = face_tracks(np.full_like(points, np.nan), 25)
    assert np.isnan(nothing.head_deg_F3).all()
    assert np.isnan(nothing.mouth_width_F).all()


def test_smoothing_keeps_whole_windows() -> None:
    np.testing.assert_allclose(smoothed(np.arange(8.0), 25), [2, 3, 4, 5])
    assert smoothed(np.zeros((8, 3)), 25).shape == (4, 3)
    assert smoothed(np.zeros((3, 3)), 25).shape == (0, 3)
