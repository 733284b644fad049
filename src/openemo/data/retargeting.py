"""Retargeting: the motion of a clip on the landmarks of a portrait. For training data only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.face.landmarks import (
    BROWS,
    LEFT_EYE,
    LIDS,
    RIGHT_EYE,
    STABLE,
    mouth_opening,
)
from openemo.face.similarity import Similarity, fit_similarity
from openemo.rendering.landmark_flow import lower_and_upper_points

__all__ = ["lower_face_motion", "median_poses", "retarget"]


_EYES = (RIGHT_EYE, LEFT_EYE)
_AROUND_EYES = [*RIGHT_EYE, *LEFT_EYE, *LIDS, *BROWS]
_NOSE_BASE = 2
_WIDEST_EYES = 1.25  # most opening of a portrait's eyes, over their opening in the picture


def median_poses(track: Floats, count: int) -> NDArray[np.int64]:
    """The `count` frames of a track (F, 478, >=2) with heads nearest to the median pose, nearest first."""
    points = track[:, list(STABLE), :2]
    distances = np.linalg.norm(points - np.median(points, 0), axis=-1).mean(1)
    return np.asarray(np.argsort(distances, kind="stable")[:count], np.int64)


def retarget(track: Floats, portrait: Floats, head_strength: float = 0.7) -> tuple[Floats, int]:
    """Moves the landmarks of a portrait as those of a clip.

    The zero frame is the clip's frame whose mouth is open as far as the portrait's. Displacements from there
    are carried over in the portrait's scale and tilt. Head motion is removed by a similarity fit on points
    that speech does not move, and added again, damped. It is relative to the clip's median pose: a portrait
    that is shifted for a whole clip would teach what audio cannot tell.

    Args:
        track: (F, 478, >=2) landmarks of the clip, px. portrait: (478, >=2), px of the portrait.
        head_strength: part of the clip's head motion that is kept.

    Returns:
        Landmarks (F, 478, 2) in pixels of the portrait, and the index of the zero frame.
    """
    clip, face = np.asarray(track[..., :2], np.float64), np.asarray(portrait[:, :2], np.float64)
    stable = list(STABLE)
    openings = np.array([mouth_opening(points) for points in track])
    zero = int(np.argmin(np.abs(openings - mouth_opening(portrait))))
    rest = fit_similarity(clip[zero, stable], np.median(clip[:, stable], 0))(clip[zero])
    stills = np.stack([fit_similarity(points[stable], rest[stable])(points) for points in clip])
    # The zero frame is chosen by its mouth; its eyes may be closed.
    rest[_AROUND_EYES] = np.median(stills[:, _AROUND_EYES], 0)
    to_portrait = fit_similarity(rest[stable], face[stable])
    moved = np.empty((len(clip), *face.shape))
    for index, points in enumerate(clip):
        head = fit_similarity(rest[stable], points[stable])
        expression = (stills[index] - rest) @ to_portrait.matrix.T
        # The head motion in the coordinates of the portrait.
        inverse = np.linalg.inv(to_portrait.matrix)
        matrix = to_portrait.matrix @ head.matrix @ inverse
        shift = to_portrait(head(np.linalg.solve(to_portrait.matrix, -to_portrait.shift)))
        pivot = face[stable].mean(0)
        shape = face + expression
        for eye in _EYES:
            _match_openness(shape, eye, face, stills[index], rest)
        moved[index] = Similarity(matrix, shift).damped(head_strength, pivot)(shape)
    return moved, zero


def lower_face_motion(points: Floats) -> Floats:
    """Landmarks (1 + F, 478, 2) of a reference and of frames, without head motion and upper-face motion.

    One reader's head, brows and lids follow the position in his sentence, not his voice. What stays is what
    mouth, chin and cheeks do; it fades from the tip of the nose to the eyes.
    """
    reference, stable = np.asarray(points[0], np.float64), list(STABLE)
    eyes, nose = reference[_AROUND_EYES, 1].mean(), reference[_NOSE_BASE, 1]
    weight = np.clip((reference[:, 1] - eyes) / max(nose - eyes, 1e-6), 0, 1)
    weight = (weight * weight * (3 - 2 * weight))[:, None]
    stills = [fit_similarity(frame[stable], reference[stable])(frame) for frame in points]
    return np.asarray(reference + weight * (np.stack(stills) - reference), np.float32)


def _match_openness(
    shape: Floats, eye: tuple[int, ...], face: Floats, clip: Floats, clip_rest: Floats
) -> None:
    """Moves the upper eyelid of `shape`, in place: the portrait's eye is as far open as the clip's.

    The clip's displacement would leave large eyes half open, and the lids of small eyes would cross.
    """
    lower, upper = lower_and_upper_points(eye)

    def gap(points: Floats) -> float:
        return float(np.linalg.norm(points[lower] - points[upper], axis=-1).mean())

    openness = min(gap(clip) / max(gap(clip_rest), 1e-6), _WIDEST_EYES)
    shape[upper] = shape[lower] + openness * (face[upper] - face[lower])
