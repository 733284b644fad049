"""Coordinates along and across the line between two corners, of a mouth or of an eye.

Lips and eyelids move across the line between their corners. So both are described by s, the position along
the line, 0 at one corner and 1 at the other, and t, the distance below the line in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openemo.arrays import Floats

__all__ = ["CornerLine", "piecewise_linear"]


@dataclass(frozen=True, slots=True)
class CornerLine:
    """The coordinates s, t about a line from corner to corner.

    Attributes:
        corner: (2,) px, where s and t are 0.
        across, down: (2,) unit vectors, along the line and at right angles to it; `down` points down the
            image.
        width_px: distance between the corners.
    """

    corner: Floats
    across: Floats
    down: Floats
    width_px: float

    @classmethod
    def between(cls, corner: Floats, other: Floats) -> CornerLine:
        """The line between two corners (2,), px, in either order."""
        width = max(float(np.linalg.norm(other - corner)), 1.0)
        across = (other - corner) / width
        down = np.array([-across[1], across[0]])
        return cls(corner, across, down if down[1] > 0 else -down, width)

    def to_line(self, points_px: Floats) -> tuple[Floats, Floats]:
        """s and t of points (..., 2)."""
        offset = points_px - self.corner
        return offset @ self.across / self.width_px, offset @ self.down

    def to_pixels(self, s: Floats, t: Floats) -> Floats:
        """(..., 2) px, the inverse of `to_line`."""
        return np.asarray(self.corner + s[..., None] * self.width_px * self.across + t[..., None] * self.down)

    def curve(self, points_px: Floats) -> tuple[Floats, Floats]:
        """s, ascending, and t of points (N, 2): the arguments of `numpy.interp`."""
        s, t = self.to_line(points_px)
        order = np.argsort(s)
        return s[order], t[order]


def piecewise_linear(t: Floats, targets: tuple[Floats, ...], sources: tuple[Floats, ...]) -> Floats:
    """Source position of each t, by linear interpolation between knots that may differ for each element.

    Args:
        t: positions in the result, any shape.
        targets, sources: knots in ascending order, each broadcast with `t`: what is drawn at `targets[i]`
            comes from `sources[i]`. Beyond the first and last knot the offset stays constant.
    """
    result = t + (sources[0] - targets[0])
    for index in range(len(targets) - 1):
        length = np.maximum(targets[index + 1] - targets[index], 1e-6)
        share = (t - targets[index]) / length
        inside = sources[index] + share * (sources[index + 1] - sources[index])
        result = np.where(t >= targets[index], inside, result)
    return np.where(t > targets[-1], t + (sources[-1] - targets[-1]), result)
