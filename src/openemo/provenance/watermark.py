"""Puts an invisible mark into frames, which survives what is usually done to videos."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from openemo.arrays import Floats, Image
from openemo.provenance.watermark_pattern import TILE_PX, mark_tile
from openemo.provenance.watermark_payload import to_symbols

__all__ = ["Watermark"]

# Of 255: standard deviation of the mark in flat places, and the most in busy ones.
_LEAST, _MOST = 0.5, 4.5
_PER_CONTRAST: Final = 0.4  # of the contrast around a place
_SAMPLES: Final = 256  # along the longer side, of which the contrast is taken
_NEIGHBOURS: Final = 5  # samples along the side of a neighbourhood: 10 px of a picture of 512
_EVERY: Final = 6  # frames with one choice of strong and weak places: a head moves less than a neighbourhood
_USUAL_PX: Final = 512


class Watermark:
    """Marks the frames of one video, stronger where a frame is busy. What moves takes its strength along.

    Args:
        mark_id: 32 bits.
    """

    def __init__(self, mark_id: int) -> None:
        self.mark_id = mark_id
        self._number = 0
        self._pattern: Floats = np.zeros((0, 0), np.float32)
        self._lighter = self._darker = np.zeros((0, 0, 3), np.uint8)

    def mark(self, frame: Image) -> Image:
        """A copy of (height, width, 3) or (height, width, 4) uint8 with the mark; opacity stays."""
        if self._lighter.shape != frame.shape:
            self._number, self._pattern = 0, _pattern(frame.shape[0], frame.shape[1], self.mark_id)
        if self._number % _EVERY == 0:
            self._lighter, self._darker = _changes(frame, self._pattern)
        self._number += 1
        return np.asarray(cv2.subtract(cv2.add(frame, self._lighter), self._darker), np.uint8)


def tile_side_px(height: int, width: int) -> int:
    """Of the tile in a frame of this size: larger pictures are made smaller before they are looked at."""
    return max(TILE_PX, round(TILE_PX * max(height, width) / _USUAL_PX))


def _pattern(height: int, width: int, mark_id: int) -> Floats:
    """(height, width): tiles of standard deviation 1."""
    side_px = tile_side_px(height, width)
    tile = mark_tile(to_symbols(mark_id), side_px)
    return np.tile(tile, (-(-height // side_px), -(-width // side_px)))[:height, :width].astype(np.float32)


def _changes(frame: Image, pattern: Floats) -> tuple[Image, Image]:
    """What is added to a frame, and what is taken away, in each of its channels."""
    change = pattern * _strength(frame)
    changes = []
    for sign in (1, -1):
        one = cv2.convertScaleAbs(np.maximum(sign * change, 0))
        opacity = [np.zeros_like(one)] * (frame.shape[2] - 3)
        changes.append(np.asarray(cv2.merge([one, one, one, *opacity]), np.uint8))
    return changes[0], changes[1]


def _strength(frame: Image) -> Floats:
    """(height, width): standard deviation of the mark. Busy places hide more of it."""
    height, width = frame.shape[:2]
    step = max(1, round(max(height, width) / _SAMPLES))
    green = frame[step // 2 :: step, step // 2 :: step, 1].astype(np.float32)
    side = (_NEIGHBOURS, _NEIGHBOURS)
    mean = cv2.blur(green, side)
    contrast = np.sqrt(np.maximum(cv2.blur(green * green, side) - mean * mean, 0))
    # The least in the neighbourhood: an edge hides nothing of the flat place beside it.
    calm = cv2.erode(contrast, np.ones(side, np.uint8))
    strength = np.clip(_LEAST + _PER_CONTRAST * calm, _LEAST, _MOST).astype(np.float32)
    return np.asarray(cv2.resize(cv2.blur(strength, side), (width, height)), np.float32)
