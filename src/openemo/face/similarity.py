"""Similarity transforms in the image plane, fitted to pairs of points.

`openemo.rendering.rigid_motion` fits the same transform with torch, in float32 and for many frames at once.
This one is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openemo.arrays import Floats

__all__ = ["Similarity", "fit_similarity"]


@dataclass(frozen=True)
class Similarity:
    """x -> matrix @ x + shift: rotation, uniform scale and translation."""

    matrix: Floats
    shift: Floats

    def __call__(self, points: Floats) -> Floats:
        """The transformed points (..., 2)."""
        return np.asarray(points @ self.matrix.T + self.shift)

    def damped(self, strength: float, pivot: Floats) -> Similarity:
        """The same motion about `pivot`, scaled by `strength`: 0 is no motion, 1 the same motion."""
        matrix = np.eye(2) + strength * (self.matrix - np.eye(2))
        moved = pivot + strength * (self(pivot) - pivot)
        return Similarity(matrix, moved - matrix @ pivot)


def fit_similarity(source: Floats, target: Floats) -> Similarity:
    """Least-squares fit, without reflection, from source (N, 2) to target (N, 2) (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    # In the plane the fit has a closed form: the complex number z in b = z a.
    power = float((a**2).sum())
    real = float((a * b).sum()) / power
    imaginary = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    matrix = np.array([[real, -imaginary], [imaginary, real]])
    return Similarity(matrix, target_mean - matrix @ source_mean)
