"""A visible label in a corner: for the first seconds, and again every half minute."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import cv2
import numpy as np

from openemo.arrays import Image

__all__ = ["Badge"]

_TEXT: Final = "AI-generated"
_SHOWN_S, _EVERY_S = 4, 30
_HEIGHT: Final = 1 / 16  # of the shorter side
_LEAST_PX: Final = 14  # smaller letters cannot be read
_OPACITY: Final = 0.65
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
_TALL_PX: Final = 96  # of the label as it is drawn, before it is made smaller


class Badge:
    """Draws the label into the frames that show it."""

    def __init__(self, fps: Fraction) -> None:
        self._fps = fps
        self._drawn: tuple[tuple[int, ...], Image] | None = None

    def is_shown(self, number: int) -> bool:
        """Whether frame `number` has it."""
        return number / self._fps % _EVERY_S < _SHOWN_S

    def draw(self, frame: Image, number: int) -> Image:
        """The frame, or a copy with the label."""
        if not self.is_shown(number):
            return frame
        if self._drawn is None or self._drawn[0] != frame.shape:
            self._drawn = (frame.shape, _label(min(frame.shape[:2])))
        label = self._drawn[1]
        margin = label.shape[0] // 3
        height, width = (
            min(size, room - margin) for size, room in zip(label.shape, frame.shape[:2], strict=True)
        )
        if height <= 0 or width <= 0:
            return frame
        result = frame.copy()
        corner = result[-margin - height : -margin or None, margin : margin + width]
        letters = label[:height, :width, None].astype(np.float32)
        corner[..., :3] = np.rint((1 - _OPACITY) * corner[..., :3] + _OPACITY * letters).astype(np.uint8)
        corner[..., 3:] = 255
        return result


def _label(side_px: int) -> Image:
    """(height, width): white letters on black."""
    scale, thickness, margin = 1.8, 4, _TALL_PX // 4
    (width, _), _ = cv2.getTextSize(_TEXT, _FONT, scale, thickness)
    label = np.zeros((_TALL_PX, width + 2 * margin), np.uint8)
    cv2.putText(label, _TEXT, (margin, _TALL_PX * 2 // 3), _FONT, scale, 255, thickness, cv2.LINE_AA)
    height = max(_LEAST_PX, round(_HEIGHT * side_px))
    size = (round(label.shape[1] * height / _TALL_PX), height)
    return np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_AREA), np.uint8)
