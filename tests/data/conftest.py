"""A face drawn by formulas, on which every motion is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face.geometry import FACE_OVAL, INNER_LIPS, LEFT_EYE, LIDS, NUM_POINTS, OUTER_LIPS, RIGHT_EYE

Pair = tuple[float, float]


def _ellipse(count: int, centre: Pair, radii: Pair, start: float) -> NDArray[np.float64]:
    """Counter-clockwise in a picture (y down), from angle `start` in turns: 0 right, 0.25 top, 0.5 left."""
    angle = 2 * np.pi * (start + np.arange(count) / count)
    return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] - radii[1] * np.sin(angle)], 1)


@pytest.fixture
def toy_face() -> NDArray[np.float64]:
    """(478, 3) landmarks in a square of side 1: contours in true order, the rest anywhere in the oval."""
    rng = np.random.default_rng(17)
    turn, radius = rng.uniform(0, 2 * np.pi, NUM_POINTS), 0.9 * np.sqrt(rng.random(NUM_POINTS))
    points = np.stack([0.5 + 0.24 * radius * np.cos(turn), 0.5 + 0.31 * radius * np.sin(turn)], 1)
    points[list(FACE_OVAL)] = _ellipse(len(FACE_OVAL), (0.5, 0.5), (0.24, 0.31), 0.25)[::-1]
    points[list(FACE_OVAL)] = np.roll(points[list(FACE_OVAL)], 1, axis=0)
    points[list(OUTER_LIPS)] = _ellipse(len(OUTER_LIPS), (0.5, 0.64), (0.09, 0.04), 0.5)
    points[list(INNER_LIPS)] = _ellipse(len(INNER_LIPS), (0.5, 0.64), (0.07, 0.004), 0.5)
    points[list(RIGHT_EYE)] = _ellipse(len(RIGHT_EYE), (0.41, 0.42), (0.04, 0.015), 0.5)
    points[list(LEFT_EYE)] = _ellipse(len(LEFT_EYE), (0.59, 0.42), (0.04, 0.015), 0.0)[::-1]
    points[list(LIDS[:16])] = _ellipse(16, (0.41, 0.42), (0.055, 0.03), 0.5)[::-1]
    points[list(LIDS[16:])] = _ellipse(16, (0.59, 0.42), (0.055, 0.03), 1 / 16)
    depth = 0.1 * ((points[:, :1] - 0.5) ** 2 + (points[:, 1:] - 0.5) ** 2)
    return np.concatenate([points, depth], 1)
