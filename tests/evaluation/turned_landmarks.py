"""Landmarks turned in three dimensions by known angles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openemo.face.landmarks import STABLE


def turned(points_px: NDArray[np.float32], degrees: NDArray[np.float64]) -> NDArray[np.float32]:
    """(F, 478, 3) turned by (F, 3) yaw, pitch, roll in degrees, as `head_pose` defines them."""
    result = []
    for frame, angles in zip(points_px.astype(np.float64), np.radians(degrees), strict=True):
        (cy, cp, cr), (sy, sp, sr) = np.cos(angles), np.sin(angles)
        yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        pivot = frame[list(STABLE)].mean(axis=0)
        result.append((frame - pivot) @ (roll @ pitch @ yaw).T + pivot)
    return np.array(result, np.float32)
