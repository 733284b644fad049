"""Sees lines of letters that were burnt into a picture: subtitles, names, clocks, marks of a channel.

Letters are strokes far brighter or darker than what is around them, alike in height, in a row and close
together. Where five such shapes stand side by side there is a line of text. No network: it reads Latin,
Greek and Cyrillic print, and misses letters that are joined or have little contrast.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image

__all__ = ["has_text"]

_WIDTH_PX: Final = 512
_CONTRAST: Final = 45.0  # grey levels between a stroke and what is around it
_STROKE: Final = 0.035  # widest stroke and its surroundings, over the side
_HEIGHTS: Final = (0.014, 0.085)  # of letters, over the side
_ASPECTS: Final = (0.08, 1.7)  # width over height
_FILLED: Final = (0.18, 0.95)  # part of its box that a letter fills
_LEAST_LETTERS: Final = 5
_LIKE: Final = 1.7  # ratio of heights in one line
_GAP: Final = 1.0  # between letters, in heights
_FACE_MARGIN: Final = 0.08


def has_text(crop: Image, points_px: Floats) -> bool:
    """Whether a line of text stands in the crop.

    Args:
        crop: (S, S, 3) uint8 RGB.
        points_px: (478, 2 or more) landmarks in it: eyes, teeth and brows are no letters.
    """
    scale = _WIDTH_PX / crop.shape[0]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(
        grey, (_WIDTH_PX, _WIDTH_PX), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    face = _face_mask(np.asarray(points_px, np.float64)[:, :2] * scale)
    side = round(_STROKE * _WIDTH_PX) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (side, side))
    for kind in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        strokes = np.asarray(cv2.morphologyEx(grey, kind, kernel))
        if _has_line(_letters((strokes > _CONTRAST) & ~face)):
            return True
    return False


def _face_mask(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    mask = np.zeros((_WIDTH_PX, _WIDTH_PX), np.uint8)
    middle = points.mean(0)
    hull = cv2.convexHull(((points - middle) * (1 + _FACE_MARGIN) + middle).astype(np.float32))
    cv2.fillConvexPoly(mask, np.rint(hull).astype(np.int32), 1)
    return np.asarray(mask, np.bool_)


def _letters(strokes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 4) x0, y0, width, height of shapes that may be letters."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(strokes.astype(np.uint8), connectivity=8)
    boxes = np.asarray(stats[1:], np.float64)
    width, height, area = boxes[:, 2], boxes[:, 3], boxes[:, 4]
    low, high = (part * _WIDTH_PX for part in _HEIGHTS)
    kept = (height >= low) & (height <= high)
    kept &= (width >= _ASPECTS[0] * height) & (width <= _ASPECTS[1] * height)
    filled = area / (width * height)
    return boxes[kept & (filled >= _FILLED[0]) & (filled <= _FILLED[1])][:, :4]


def _has_line(letters: NDArray[np.float64]) -> bool:
    order = letters[np.argsort(letters[:, 0])]
    middle = order[:, 1] + order[:, 3] / 2
    length = np.ones(len(order), int)
    for index, (x0, _, _, height) in enumerate(order):
        before = order[:index]
        gap = x0 - before[:, 0] - before[:, 2]
        ratio = before[:, 3] / height
        beside = (gap > -0.2 * height) & (gap < _GAP * height) & (ratio < _LIKE) & (ratio > 1 / _LIKE)
        beside &= np.abs(middle[:index] - middle[index]) < 0.3 * height
        if beside.any():
            length[index] += length[:index][beside].max()
    return bool((length >= _LEAST_LETTERS).any())
