"""Fields over the pixels of an eye's box, and how images are mixed by them.

Shapes: h, w of the box.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "mix", "shade", "smoothstep"]

Field = NDArray[np.float32]


def smoothstep(values: NDArray[np.floating], low: float, high: float) -> Field:
    """0 up to `low`, 1 from `high`, without kinks between."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def mix(below: NDArray[np.float32], above: NDArray[np.float32], share: Field) -> NDArray[np.float32]:
    """`share` (h, w) of one image (h, w, 3) and the rest of the other."""
    return np.asarray(below + _three(share) * (above - below), np.float32)


def shade(image: NDArray[np.float32], factor: Field) -> NDArray[np.float32]:
    """An image (h, w, 3) times a factor (h, w)."""
    return np.asarray(image * _three(factor), np.float32)


def _three(field: Field) -> NDArray[np.float32]:
    """(h, w, 3): broadcasting over the last axis takes four times as long."""
    plane = np.asarray(field, np.float32)
    return np.asarray(cv2.merge((plane, plane, plane)), np.float32)
