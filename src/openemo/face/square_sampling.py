"""Cuts a rotated square out of an image at any scale, without aliasing. Pixel i covers [i, i + 1)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image

__all__ = ["rotation_matrix", "sample_square"]


def rotation_matrix(angle: float) -> NDArray[np.float64]:
    """(2, 2) matrix that rotates column vectors by `angle` radians, clockwise because y points down."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def sample_square(
    image: Image, centre_px: Floats, side_px: float, angle: float, size_px: int, border: int
) -> Image:
    """A rotated square of the image as (size_px, size_px, 3). Shrinking averages over the source.

    Args:
        centre_px, side_px: of the square in the image, px.
        angle: radians, clockwise.
        border: OpenCV's border mode for positions outside the image.
    """
    scale = side_px / size_px
    half = side_px / 2 * (abs(np.cos(angle)) + abs(np.sin(angle))) + 2 * max(scale, 1.0)
    height, width = image.shape[:2]
    x0, x1 = _pixel_range(centre_px[0] - half, centre_px[0] + half, width)
    y0, y1 = _pixel_range(centre_px[1] - half, centre_px[1] + half, height)
    part = image[y0:y1, x0:x1]
    shrink = np.ones(2)
    if scale > 1.0:
        size = (max(1, round((x1 - x0) / scale)), max(1, round((y1 - y0) / scale)))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        shrink = np.array(size) / (x1 - x0, y1 - y0)
    linear = rotation_matrix(angle) * scale * shrink[:, None]
    centre = (np.asarray(centre_px, np.float64) - (x0, y0)) * shrink
    # Here pixel d has its centre at d + 0.5, for warpAffine at d.
    offset = centre + linear @ np.full(2, 0.5 - size_px / 2) - 0.5
    matrix = np.concatenate([linear, offset[:, None]], axis=1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(part, matrix, (size_px, size_px), flags=flags, borderMode=border), np.uint8
    )


def _pixel_range(low: float, high: float, length: int) -> tuple[int, int]:
    """Start and stop of the whole pixels that cover [low, high), within [0, length); at least one pixel."""
    start = int(np.clip(np.floor(low), 0, length - 1))
    return start, int(np.clip(np.ceil(high), start + 1, length))
