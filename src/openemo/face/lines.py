"""Places along a line between two landmarks, and what is drawn out at right angles to it.

Lids and lips move across the line between their corners, so both are described there: s runs from corner to
corner, 0 to 1, t is the distance below the line in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CornerLine", "follow"]

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class CornerLine:
    """Coordinates s, t about a line from corner to corner.

    Attributes:
        corner: (2,) px, where s and t are 0.
        across, down: unit vectors; `down` points down the picture.
        width_px: between the corners.
    """

    corner: Floats
    across: Floats
    down: Floats
    width_px: float

    @classmethod
    def between(cls, corner: Floats, other: Floats) -> CornerLine:
        """The line between two places (2,), px, which may be given either way round."""
        width = max(float(np.linalg.norm(other - corner)), 1.0)
        across = (other - corner) / width
        down = np.array([-across[1], across[0]])
        return cls(corner, across, down if down[1] > 0 else -down, width)

    def local(self, places: Floats) -> tuple[Floats, Floats]:
        """s and t of places (..., 2), px."""
        away = places - self.corner
        return away @ self.across / self.width_px, away @ self.down

    def places(self, s: Floats, t: Floats) -> Floats:
        """(..., 2) px, the inverse of `local`."""
        return np.asarray(self.corner + s[..., None] * self.width_px * self.across + t[..., None] * self.down)

    def curve(self, places: Floats) -> tuple[Floats, Floats]:
        """s, in rising order, and t of points (N, 2), px: what `numpy.interp` takes."""
        s, t = self.local(places)
        order = np.argsort(s)
        return s[order], t[order]


def follow(t: Floats, to: tuple[Floats, ...], come_from: tuple[Floats, ...]) -> Floats:
    """Piecewise linear, place by place: what lies at `to[i]` comes from `come_from[i]`; beyond the last knots
    it moves with them."""
    source = t + (come_from[0] - to[0])
    for index in range(len(to) - 1):
        length = np.maximum(to[index + 1] - to[index], 1e-6)
        part = (t - to[index]) / length
        inside = come_from[index] + part * (come_from[index + 1] - come_from[index])
        source = np.where(t >= to[index], inside, source)
    return np.where(t > to[-1], t + (come_from[-1] - to[-1]), source)
