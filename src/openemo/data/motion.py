"""From landmarks to motion: retarget a clip's motion to another face, and fill the plane between landmarks.

Everything here makes training data. Nothing of it runs when a portrait is animated: the network hears sound
and sees one picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from openemo.face.geometry import (
    BROWS,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LIDS,
    NOSE,
    OUTER_LIPS,
    RIGHT_EYE,
    STABLE,
    mouth_opening,
)
from openemo.face.similarity import Similarity, fit_similarity

__all__ = ["FLOW_POINTS", "backward_flow", "face_flow", "median_poses", "retarget"]

Floats = NDArray[np.floating]

# Cheeks and chin between the contours, so that the jaw moves the skin and not only its edge.
_CHEEKS = (50, 280, 36, 266, 205, 425, 187, 411, 207, 427, 192, 416, 214, 434, 212, 432, 202, 422, 204, 424)
_CHIN = (18, 200, 199, 175, 83, 313, 106, 335, 182, 406, 43, 273, 140, 369, 32, 262)
_UPPER_LIP_SKIN = (164, 167, 393, 165, 391, 92, 322)
FLOW_POINTS = np.array(
    sorted(
        {
            *INNER_LIPS, *OUTER_LIPS, *RIGHT_EYE, *LEFT_EYE, *LIDS, *BROWS, *FACE_OVAL, *NOSE, *STABLE,
            *_CHEEKS, *_CHIN, *_UPPER_LIP_SKIN,
        }
    )
)  # fmt: skip
"""Landmarks that carry the flow."""

_SLITS = (INNER_LIPS, RIGHT_EYE, LEFT_EYE)
_EYES = (RIGHT_EYE, LEFT_EYE)
_AROUND_EYES = [*RIGHT_EYE, *LEFT_EYE, *LIDS, *BROWS]
# Touching lids are found a hair apart, or the wrong way round, in units of the crop's side. Between them the
# flow would jump back and forth instead of hiding the eye.
_LEAST_GAP = 0.006
# A portrait's eyes open at most so much wider than they are.
_WIDEST_EYES = 1.25


def median_poses(track: Floats, count: int) -> NDArray[np.int64]:
    """The `count` frames of a track (F, 478, >=2) with heads nearest to the median pose, nearest first."""
    points = track[:, list(STABLE), :2]
    distances = np.linalg.norm(points - np.median(points, 0), axis=-1).mean(1)
    return np.asarray(np.argsort(distances, kind="stable")[:count], np.int64)


def retarget(track: Floats, portrait: Floats, head_strength: float = 0.7) -> tuple[Floats, int]:
    """Lets a portrait's landmarks make the motion of a clip.

    The clip's frame whose mouth is open as far as the portrait's is the zero. From there the displacement of
    each landmark is carried over in the portrait's own scale and tilt; the head's motion, taken out by a
    similarity fit on points that speech leaves alone, is added again, damped. It is the motion about the
    clip's median pose: a portrait that lies aside for a whole clip would teach what no sound can tell.

    Args:
        track: (F, 478, >=2) landmarks of the clip, px. portrait: (478, >=2), px of the portrait.
        head_strength: how much of the clip's head motion is kept.

    Returns:
        Landmarks (F, 478, 2) in pixels of the portrait, and the index of the zero frame.
    """
    clip, face = np.asarray(track[..., :2], np.float64), np.asarray(portrait[:, :2], np.float64)
    stable = list(STABLE)
    openings = np.array([mouth_opening(points) for points in track])
    zero = int(np.argmin(np.abs(openings - mouth_opening(portrait))))
    rest = fit_similarity(clip[zero, stable], np.median(clip[:, stable], 0))(clip[zero])
    stills = np.stack([fit_similarity(points[stable], rest[stable])(points) for points in clip])
    # The zero is chosen by its mouth; its eyes may be shut.
    rest[_AROUND_EYES] = np.median(stills[:, _AROUND_EYES], 0)
    to_portrait = fit_similarity(rest[stable], face[stable])
    moved = np.empty((len(clip), *face.shape))
    for index, points in enumerate(clip):
        head = fit_similarity(rest[stable], points[stable])
        expression = (stills[index] - rest) @ to_portrait.matrix.T
        # The head's motion, seen in the portrait's own frame.
        inverse = np.linalg.inv(to_portrait.matrix)
        matrix = to_portrait.matrix @ head.matrix @ inverse
        shift = to_portrait(head(np.linalg.solve(to_portrait.matrix, -to_portrait.shift)))
        pivot = face[stable].mean(0)
        shape = face + expression
        for eye in _EYES:
            _close_as(shape, eye, face, stills[index], rest)
        moved[index] = Similarity(matrix, shift).damped(head_strength, pivot)(shape)
    return moved, zero


def _slit(contour: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """The lower and the upper points of a contour that face each other; without the corners."""
    half = len(contour) // 2
    return list(contour[1:half]), list(contour[:half:-1])


def _close_as(shape: Floats, eye: tuple[int, ...], face: Floats, clip: Floats, clip_rest: Floats) -> None:
    """Moves the upper lid of `shape`, in place: the portrait's own gap, as far open as the clip's.

    A displacement alone would leave large eyes half open, and turn small ones inside out.
    """
    lower, upper = _slit(eye)

    def gap(points: Floats) -> float:
        return float(np.linalg.norm(points[lower] - points[upper], axis=-1).mean())

    openness = min(gap(clip) / max(gap(clip_rest), 1e-6), _WIDEST_EYES)
    shape[upper] = shape[lower] + openness * (face[upper] - face[lower])


def _parted(points: Floats) -> Floats:
    """A copy (478, 2), in units of the crop's side, with lips and lids at least `_LEAST_GAP` apart."""
    points = np.array(points[:, :2], np.float64)
    for contour in _SLITS:
        lower, upper = _slit(contour)
        along = points[contour[len(contour) // 2]] - points[contour[0]]
        down = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9)
        # Contours run from the corner at the picture's left, or from the other: faces are upright enough.
        down *= np.sign(down[1]) or 1.0
        missing = np.maximum(_LEAST_GAP - (points[lower] - points[upper]) @ down, 0)[:, None] * down / 2
        points[lower] += missing
        points[upper] -= missing
    return points


def face_flow(reference: Floats, target: Floats, grid: int) -> NDArray[np.float32]:
    """`backward_flow` (2, grid, grid) between faces, landmarks (478, 2 or more) in units of the side."""
    return backward_flow(_parted(reference)[FLOW_POINTS], _parted(target)[FLOW_POINTS], grid)


def backward_flow(reference: Floats, target: Floats, grid: int, num_border: int = 9) -> NDArray[np.float32]:
    """Dense backward flow from sparse landmarks: where each grid cell of the target frame comes from.

    Interpolated with the biharmonic-like kernel -|r|, which is local enough for lips; slightly regularised
    because landmarks stand denser than cells around eyes and mouth. The border of the crop stays where it is.

    Args:
        reference, target: (N, 2) the same landmarks in both pictures, in units of the crop's side (0..1).
        grid: number of cells along a side.
        num_border: fixed points along each side of the crop.

    Returns:
        (2, grid, grid): displacement x, y in units of the side, at cell centres.
    """
    ticks = np.linspace(0, 1, num_border)
    border = np.unique(
        np.concatenate(
            [np.stack([ticks, np.full_like(ticks, e)], 1)[:, ::s] for e in (0.0, 1.0) for s in (1, -1)]
        ),
        axis=0,
    )
    nodes = np.concatenate([target, border]).astype(np.float64)
    values = np.concatenate([reference - target, np.zeros_like(border)])
    # -|r| is conditionally positive definite: the constant term makes the system solvable and moves a whole
    # picture.
    size = len(nodes)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = np.eye(size) * (0.1 / grid) - cdist(nodes, nodes)
    system[:size, size] = system[size, :size] = 1
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros((1, 2))]))
    centres = (np.arange(grid) + 0.5) / grid
    cells = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    flow = weights[size] - cdist(cells, nodes) @ weights[:size]
    return np.ascontiguousarray(flow.T.reshape(2, grid, grid), np.float32)
