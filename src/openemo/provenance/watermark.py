"""Puts an invisible mark into frames, which survives what is usually done to videos."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from openemo.arrays import Image
from openemo.provenance.watermark_pattern import TILE_PX, mark_tile
from openemo.provenance.watermark_payload import to_symbols

__all__ = ["Watermark"]

# Of 255: standard deviation of the mark in flat places, and the most in busy ones.
_LEAST, _MOST = 0.5, 4.5
_PER_CONTRAST: Final = 0.4  # of the contrast around a place
_CONTRAST_PX: Final = 9  # side of the neighbourhood, on a picture of 512 px
_USUAL_PX: Final = 512


class Watermark:
    """Marks the frames of one video. Where it is stronger and weaker is decided by the first frame.

    Args:
        mark_id: 32 bits.
    """

    def __init__(self, mark_id: int) -> None:
        self.mark_id = mark_id
        self._lighter: Image | None = None
        self._darker: Image | None = None

    def mark(self, frame: Image) -> Image:
        """A copy of (height, width, 3) or (height, width, 4) uint8 with the mark; opacity stays."""
        if self._lighter is None or self._lighter.shape != frame.shape:
            self._lighter, self._darker = _changes(frame, self.mark_id)
        assert self._darker is not None
        return np.asarray(cv2.subtract(cv2.add(frame, self._lighter), self._darker), np.uint8)


def tile_side_px(height: int, width: int) -> int:
    """Of the tile in a frame of this size: larger pictures are made smaller before they are looked at."""
    return max(TILE_PX, round(TILE_PX * max(height, width) / _USUAL_PX))


def _changes(frame: Image, mark_id: int) -> tuple[Image, Image]:
    """What is added to a frame, and what is taken away, in each of its channels."""
    height, width = frame.shape[:2]
    side_px = tile_side_px(height, width)
    tile = mark_tile(to_symbols(mark_id), side_px)
    across = np.tile(tile, (-(-height // side_px), -(-width // side_px)))[:height, :width]
    change = np.rint(across * _strength(frame)).astype(np.int16)
    lighter = np.zeros(frame.shape, np.uint8)
    darker = np.zeros(frame.shape, np.uint8)
    lighter[..., :3] = np.maximum(change, 0)[..., None]
    darker[..., :3] = np.maximum(-change, 0)[..., None]
    return lighter, darker


def _strength(frame: Image) -> npt.NDArray[np.float32]:
    """(height, width): standard deviation of the mark. Busy places hide more of it."""
    luma = cv2.cvtColor(np.ascontiguousarray(frame[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    side_px = round(_CONTRAST_PX * max(1.0, max(luma.shape) / _USUAL_PX)) | 1
    mean = cv2.blur(luma, (side_px, side_px))
    contrast = np.sqrt(np.maximum(cv2.blur(luma * luma, (side_px, side_px)) - mean * mean, 0))
    # The least in the neighbourhood: an edge hides nothing of the flat place beside it.
    calm = cv2.erode(contrast, np.ones((side_px, side_px), np.uint8))
    strength = np.clip(_LEAST + _PER_CONTRAST * calm, _LEAST, _MOST)
    return np.asarray(cv2.blur(strength, (side_px, side_px)), np.float32)
