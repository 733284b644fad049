"""How a face moves over the frames of a video, part by part, with the head's own motion taken out.

Shape letters: F frames, P points. Lengths are in face widths (landmarks 234 to 454 in the picture plane).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Doubles, Floats
from openemo.face.landmarks import BROWS, STABLE, eye_opening, face_width_px, head_pose, mouth_opening

__all__ = ["FaceTracks", "face_tracks", "smoothed", "without_head"]

# Corners of each eye from left to right in the picture, and its iris: the person's right eye first.
_EYES: Final = ((33, 133, 468), (362, 263, 473))
_MOUTH_CORNERS: Final = (61, 291)
_CHIN: Final = 152
_CHEEKS: Final = (50, 280, 205, 425)
_FOLDS: Final = (203, 423, 206, 426, 216, 436)  # along the nasolabial folds
_SMOOTHING_S: Final = 0.2


@dataclass(frozen=True, eq=False)
class FaceTracks:
    """Motion of one face. Rows of frames without a face are NaN.

    Attributes:
        fps: frames per second.
        head_deg_F3: yaw, pitch and roll, see `HeadPose`.
        place_F2: the middle of the stable points, right and down.
        brows_F: how far the brows are above the eyes.
        gaze_F2: the irises from the middle of their eyes' corners, along the eye and down; mean of both.
        eye_opening_F: lid gap over eye width, mean of both.
        mouth_opening_F: gap of the inner lips.
        mouth_width_F: between the corners. corners_F: how far down these are.
        jaw_F: how far down the chin is.
        cheeks_FP2, folds_FP2: points of the cheeks and of the nasolabial folds.
    """

    fps: float
    head_deg_F3: Doubles
    place_F2: Doubles
    brows_F: Doubles
    gaze_F2: Doubles
    eye_opening_F: Doubles
    mouth_opening_F: Doubles
    mouth_width_F: Doubles
    corners_F: Doubles
    jaw_F: Doubles
    cheeks_FP2: Doubles
    folds_FP2: Doubles

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.head_deg_F3)


def face_tracks(points_px: Floats, fps: float) -> FaceTracks:
    """The tracks of landmarks (F, 478, 3) in pixels; rows of frames without a face are NaN."""
    points = np.asarray(points_px, np.float64)
    head = _each(points, _angles_deg, 3)
    still = without_head(points)
    middle_of_eyes = still[:, [corner for eye in _EYES for corner in eye[:2]], 1].mean(axis=1)
    right, left = _MOUTH_CORNERS
    return FaceTracks(
        fps=fps,
        head_deg_F3=head,
        place_F2=points[:, list(STABLE), :2].mean(axis=1) / _median_width(points),
        brows_F=middle_of_eyes - still[:, list(BROWS), 1].mean(axis=1),
        gaze_F2=np.mean([_gaze(still, *eye) for eye in _EYES], axis=0),
        eye_opening_F=_each(points, eye_opening, 2).mean(axis=1),
        mouth_opening_F=_each(points, lambda frame: (mouth_opening(frame),), 1)[:, 0],
        mouth_width_F=np.linalg.norm(still[:, right, :2] - still[:, left, :2], axis=-1),
        corners_F=still[:, [right, left], 1].mean(axis=1),
        jaw_F=still[:, _CHIN, 1],
        cheeks_FP2=still[:, list(_CHEEKS), :2],
        folds_FP2=still[:, list(_FOLDS), :2],
    )


def without_head(points_px: Floats) -> Doubles:
    """Landmarks (F, 478, 3) as if the head stood still and upright: in face widths, x right, y down.

    Each frame is turned, scaled and moved in three dimensions so that its stable points lie on those of the
    frame whose pose is nearest to the median (Umeyama 1991). A fit in the picture plane would let a nod
    through as raised brows. That frame itself only loses its roll.
    """
    points = np.asarray(points_px, np.float64)
    seen = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    still = np.full(points.shape, np.nan)
    if not len(seen):
        return still
    poses = _each(points[seen], _angles_deg, 3)
    usual = int(seen[np.argmin(np.linalg.norm(poses - np.median(poses, axis=0), axis=1))])
    roll = np.radians(head_pose(points[usual]).roll_deg)
    upright = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    target = points[usual] @ upright.T / face_width_px(points[usual])
    target -= target[list(STABLE)].mean(axis=0)
    stable = points[seen][:, list(STABLE)]
    middle = stable.mean(axis=1, keepdims=True)
    turn, scale = _turns(stable - middle, target[list(STABLE)])
    still[seen] = scale[:, None, None] * (points[seen] - middle) @ turn.transpose(0, 2, 1)
    return still


def smoothed(track: Floats, fps: float) -> Doubles:
    """Moving mean over 0.2 s of (F, ...), because most of a quick change is jitter of the landmarks.

    Only whole windows are kept, so it is shorter than the track; an empty one if the track is too short.
    """
    window = max(1, round(_SMOOTHING_S * fps))
    if len(track) < window:
        return np.zeros((0, *track.shape[1:]))
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(track, np.float64), window, axis=0)
    return np.asarray(windows.mean(axis=-1))


def _turns(source: Doubles, target: Doubles) -> tuple[Doubles, Doubles]:
    """Rotations (F, 3, 3) and scales (F,) that map centred points (F, P, 3) to centred points (P, 3)."""
    left, sizes, right = np.linalg.svd(np.einsum("pi,fpj->fij", target, source))
    signs = np.ones((len(source), 3))
    signs[:, 2] = np.sign(np.linalg.det(left @ right))
    turn = left * signs[:, None] @ right
    return turn, (sizes * signs).sum(axis=1) / (source**2).sum(axis=(1, 2))


def _gaze(still: Doubles, corner: int, other: int, iris: int) -> Doubles:
    """(F, 2) place of the iris from the middle of the corners, along the eye and down."""
    start, stop = still[:, corner, :2], still[:, other, :2]
    across = (stop - start) / np.linalg.norm(stop - start, axis=-1, keepdims=True)
    down = np.stack([-across[:, 1], across[:, 0]], axis=-1)
    offset = still[:, iris, :2] - (start + stop) / 2
    return np.stack([(offset * across).sum(axis=-1), (offset * down).sum(axis=-1)], axis=-1)


def _angles_deg(frame: Floats) -> tuple[float, ...]:
    pose = head_pose(frame)
    return pose.yaw_deg, pose.pitch_deg, pose.roll_deg


def _each(points: Doubles, measure: Callable[[Doubles], tuple[float, ...]], count: int) -> Doubles:
    """(F, count) measure of each frame; NaN in frames without a face."""
    seen = np.asarray(np.isfinite(points).all(axis=(1, 2)))
    unseen = (float("nan"),) * count
    rows = [measure(points[index]) if seen[index] else unseen for index in range(len(points))]
    return np.array(rows, np.float64).reshape(len(points), count)


def _median_width(points: Doubles) -> float:
    widths = _each(points, lambda frame: (face_width_px(frame),), 1)
    return float(np.nanmedian(widths)) if np.isfinite(widths).any() else float("nan")
