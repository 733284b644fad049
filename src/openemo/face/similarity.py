"""Rotation, uniform scale and shift in the picture plane, fitted to pairs of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Similarity", "fit_similarity"]

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Similarity:
    """x -> matrix @ x + shift: rotation, uniform scale, translation in the picture plane."""

    matrix: Floats
    shift: Floats

    def __call__(self, points: Floats) -> Floats:
        """Maps (..., 2) points."""
        return np.asarray(points @ self.matrix.T + self.shift)

    def damped(self, strength: float, pivot: Floats) -> Similarity:
        """The same motion about `pivot`, `strength` times as large (0 rests, 1 unchanged)."""
        matrix = np.eye(2) + strength * (self.matrix - np.eye(2))
        moved = pivot + strength * (self(pivot) - pivot)
        return Similarity(matrix, moved - matrix @ pivot)


def fit_similarity(source: Floats, target: Floats) -> Similarity:
    """Least-squares similarity, without reflection, from source (N, 2) to target (N, 2) (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    # In the plane the fit is closed: a complex number z with b = z a.
    power = float((a**2).sum())
    real = float((a * b).sum()) / power
    imaginary = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    matrix = np.array([[real, -imaginary], [imaginary, real]])
    return Similarity(matrix, target_mean - matrix @ source_mean)
