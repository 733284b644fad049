"""Dense backward flow, interpolated from the motion of landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from openemo.arrays import Floats
from openemo.face.landmarks import (
    BROWS,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LIDS,
    NOSE,
    OUTER_LIPS,
    RIGHT_EYE,
    STABLE,
)
from openemo.grids import centre_array

__all__ = ["FLOW_POINTS", "backward_flow", "face_flow", "lower_and_upper_points"]


# Cheeks and chin, so that the jaw moves the skin and not only its edge.
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
"""Landmarks that the flow is interpolated from."""

_CONTOURS = (INNER_LIPS, RIGHT_EYE, LEFT_EYE)
# In units of the crop's side. Landmarks of touching lids are a hair apart or in the wrong order; between them
# the flow would jump back and forth instead of hiding the eye.
_MIN_GAP = 0.006
_BORDER_POINTS = 9  # points along each side of the crop that do not move


def lower_and_upper_points(contour: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Indices of a contour's lower points and of the upper points that face them; without the corners."""
    half = len(contour) // 2
    return list(contour[1:half]), list(contour[:half:-1])


def face_flow(reference: Floats, target: Floats, grid: int) -> NDArray[np.float32]:
    """`backward_flow` (2, grid, grid) between faces, landmarks (478, 2 or more) in units of the side."""
    reference, target = (_with_min_gap(points)[FLOW_POINTS] for points in (reference, target))
    return backward_flow(reference, target, grid)


def _with_min_gap(points: Floats) -> Floats:
    """A copy (478, 2), in units of the crop's side, with lips and eyelids at least `_MIN_GAP` apart."""
    points = np.array(points[:, :2], np.float64)
    for contour in _CONTOURS:
        lower, upper = lower_and_upper_points(contour)
        along = points[contour[len(contour) // 2]] - points[contour[0]]
        down = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9)
        # A contour starts at the left or the right corner. Faces are upright enough to tell down from up.
        down *= np.sign(down[1]) or 1.0
        missing = np.maximum(_MIN_GAP - (points[lower] - points[upper]) @ down, 0)[:, None] * down / 2
        points[lower] += missing
        points[upper] -= missing
    return points


def backward_flow(reference: Floats, target: Floats, grid: int) -> NDArray[np.float32]:
    """Dense backward flow from sparse landmarks: where each grid cell of the target frame comes from.

    Radial basis functions with the kernel -|r|, which is local enough for lips. A slight regularisation is
    needed because landmarks are denser than cells around eyes and mouth. The border of the crop does not
    move.

    Args:
        reference, target: (N, 2) the same landmarks in both images, in units of the crop's side (0..1).
        grid: number of cells along a side.

    Returns:
        (2, grid, grid): displacement x, y in units of the side, at cell centres.
    """
    ticks = np.linspace(0, 1, _BORDER_POINTS)
    border = np.unique(
        np.concatenate(
            [np.stack([ticks, np.full_like(ticks, e)], 1)[:, ::s] for e in (0.0, 1.0) for s in (1, -1)]
        ),
        axis=0,
    )
    nodes = np.concatenate([target, border]).astype(np.float64)
    values = np.concatenate([reference - target, np.zeros_like(border)])
    # -|r| is conditionally positive definite: the constant term makes the system solvable, and it represents
    # a shift of the whole image.
    size = len(nodes)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = np.eye(size) * (0.1 / grid) - cdist(nodes, nodes)
    system[:size, size] = system[size, :size] = 1
    weights = np.linalg.solve(system, np.concatenate([values, np.zeros((1, 2))]))
    cells = np.stack(np.meshgrid(centre_array(grid), centre_array(grid)), -1).reshape(-1, 2)
    flow = weights[size] - cdist(cells, nodes) @ weights[:size]
    return np.ascontiguousarray(flow.T.reshape(2, grid, grid), np.float32)
