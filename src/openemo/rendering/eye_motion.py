"""How a warp of the portrait stretches an eye: lids that rise would pull the iris into a large oval.

Shapes: h, w of the eye's box, g x g the flow's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.rendering.eye_fields import Field
from openemo.rendering.eye_shape import EyeShape

__all__ = ["EyeMotion"]

_STEP: Final = 0.1  # of the points that are followed, in widths of the eye
_ROUNDS: Final = 3
_MOST: Final = 0.4  # of half of the opening's height, so that no part is seen twice
_LEAST: Final = 0.006  # of the width: what is stretched by less is left


@dataclass(frozen=True, slots=True)
class EyeMotion:
    """How far each pixel of the box goes beyond the way of the eye's corners, px right and down.

    It fades towards the lids: what they hide of an iris is not known, so what lies beside it gives way.
    """

    right_px: Field
    down_px: Field

    @classmethod
    def of(cls, shape: EyeShape, flow_2gg: NDArray[np.float32], side_px: int) -> EyeMotion | None:
        """By a backward flow in units of the picture's side, `side_px`; None if the eye keeps its form."""
        height, width = shape.s.shape
        step_px = _STEP * shape.width_px
        rows, columns = (max(3, round(length / step_px)) for length in (height, width))
        x0, y0 = shape.corner_px
        x, y = np.meshgrid(
            x0 + (np.arange(columns) + 0.5) * width / columns, y0 + (np.arange(rows) + 0.5) * height / rows
        )
        cells = np.ascontiguousarray(np.moveaxis(flow_2gg, 0, -1) * np.float32(side_px), np.float32)
        moved = _forward(cells, np.stack([x, y], -1), side_px)
        corners = shape.line.to_pixels(np.array([0.0, 1.0]), np.zeros(2))
        moved -= _forward(cells, corners[None], side_px).mean((0, 1))
        opened = (x > corners[:, 0].min()) & (x < corners[:, 0].max())
        if not np.abs(moved[opened]).max(initial=0) > _LEAST * shape.width_px:
            return None
        right, down = (
            cv2.resize(np.ascontiguousarray(moved[..., axis], np.float32), (width, height)) for axis in (0, 1)
        )
        half = np.maximum(shape.gap / 2, 0.5)
        share = np.clip(1 - np.square((shape.t - (shape.upper + shape.lower) / 2) / half), 0, 1)
        return cls(share * right, share * np.clip(down, -_MOST * half, _MOST * half))

    def along(self, axis: Floats) -> Field:
        """The part along a unit vector (2,) of the picture, px."""
        return np.asarray(axis[0] * self.right_px + axis[1] * self.down_px, np.float32)


def _forward(cells_gg2: NDArray[np.float32], positions_px: Floats, side_px: int) -> Floats:
    """(..., 2) px by which positions of the picture move, by fixed-point iteration on the backward flow."""
    grid = len(cells_gg2)
    moved = np.zeros_like(positions_px)
    for _ in range(_ROUNDS):
        at = ((positions_px + moved) * (grid / side_px) - 0.5).astype(np.float32)
        moved = -cv2.remap(cells_gg2, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float64)
