"""Lashes of a shut lid: single hairs that hang from the line in which the lids meet.

The portrait's own lashes point up or at the viewer, so that no photo of an open eye shows how they hang.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np

from openemo.rendering.eye_fields import Field

__all__ = ["LashFringe"]

_NUM_HAIRS: Final = 44
_FIRST, _LAST = -0.02, 0.92  # from the outer corner to the inner one, where the last hairs grow
# Lengths in widths of the eye.
_LENGTHS: Final = (0.1, 0.2)  # of hairs near the nose, and of those near the outer corner
_LEAN: Final = 0.9  # how far hairs at the corners lean outwards, over their length
_THICKNESS: Final = 0.016  # of a hair where it grows
_BESIDE, _DEPTH = 0.25, 0.25  # of the map beyond the corners, and below the line
_CELLS: Final = 400  # of the map, per width of the eye
_MIN_SIGMA_CELLS: Final = 0.5


@dataclass(frozen=True, slots=True)
class LashFringe:
    """How dark hairs are at each place below the line, 0 to 1, as soft as the portrait.

    Attributes:
        map_hw: over the position along the line and the distance below it.
    """

    map_hw: Field

    @classmethod
    def of(cls, width_px: float, soft_px: float) -> Self:
        """
        Args:
            width_px: of the eye. soft_px: width of the sharpest edges around it.
        """
        sigma = max(0.25 * soft_px, 0.5) / width_px * _CELLS
        hairs = _hairs()
        return cls(np.asarray(cv2.GaussianBlur(hairs, (0, 0), max(sigma, _MIN_SIGMA_CELLS)), np.float32))

    def sample(self, s: Field, below: Field) -> Field:
        """(h, w): at positions s along the line and so many widths of the eye below it."""
        columns = np.asarray((s + _BESIDE) * _CELLS - 0.5, np.float32)
        rows = np.asarray((below + _BESIDE) * _CELLS - 0.5, np.float32)
        drawn = cv2.remap(self.map_hw, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(drawn, np.float32)


@functools.cache
def _hairs() -> Field:
    """Tapered strokes that lean outwards, of uneven lengths, some crossing their neighbours."""
    rng = np.random.default_rng(0)
    height, width = round((_BESIDE + _DEPTH) * _CELLS), round((1 + 2 * _BESIDE) * _CELLS)
    drawn = np.zeros((height, width), np.float32)
    places = np.linspace(_FIRST, _LAST, _NUM_HAIRS) + rng.normal(0, 0.006, _NUM_HAIRS)
    for place in places:
        near, far = _LENGTHS
        length = (near + (far - near) * (1 - place)) * rng.uniform(0.7, 1.1)
        lean = _LEAN * (0.55 - place) + rng.normal(0, 0.12)
        along = np.linspace(0, 1, 12)
        # Down first, then outwards: a hair is bent.
        x = place - lean * length * along**1.6
        y = length * (along - 0.25 * abs(lean) * along**2)
        points = np.stack([(x + _BESIDE) * _CELLS, (y + _BESIDE) * _CELLS], -1)
        hair = np.zeros_like(drawn)
        for index in range(len(along) - 1):
            share = 1 - along[index]
            ends = np.round(points[index : index + 2] * 16).astype(np.int32)
            thickness = max(1, round(_THICKNESS * _CELLS * (0.3 + 0.7 * share)))
            cv2.line(hair, tuple(ends[0]), tuple(ends[1]), 0.45 + 0.55 * share, thickness, cv2.LINE_AA, 4)
        drawn = np.maximum(drawn, hair)
    return drawn
