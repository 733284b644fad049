"""Masks of facial regions: soft masks for networks with audio layers per region (Hallo 3.3), filled contours.

The soft masks are rectangles around landmarks, blurred on a grid of 64 x 64 for images of any size, then
resized to each level of the network. They are rounded and truncated as in the training of the published
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.arrays import Floats
from openemo.face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE

__all__ = [
    "Box",
    "RegionMasks",
    "box_mask",
    "expand_box",
    "fill_contour",
    "landmark_box",
    "level_sizes",
    "part_masks",
    "region_masks",
    "resize_mask",
]

Mask = NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height of an image, px."""
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are exclusive."""

_GRID: Final = 64
_FACE_BLUR, _LIPS_BLUR = 51, 31  # kernel sizes; OpenCV's standard deviations for them are 8 and 5 cells
_LIPS_EXPANSION: Final = 2.0
_FRACTION_BITS: Final = 4  # of sub-pixel coordinates in OpenCV's polygons


@dataclass(frozen=True, slots=True)
class RegionMasks:
    """Masks of one image, (64, 64) uint8. Their sum is not 255 everywhere.

    Attributes:
        picture: everything except the face.
        face: the face without the lips.
        lips: the lips.
        face_with_lips: the face with the lips.
        face_box, lips_box: the rectangles before the blur, px of the image.
    """

    picture: Mask
    face: Mask
    lips: Mask
    face_with_lips: Mask
    face_box: Box
    lips_box: Box

    def levels(self, sizes: Sequence[Size]) -> list[NDArray[np.float32]]:
        """For each size (width, height): picture, face and lips as (3, height, width) in [0, 1]."""
        three = (self.picture, self.face, self.lips)
        return [np.stack([resize_mask(mask, size) for mask in three]) for size in sizes]


def region_masks(
    points_px: Floats, size: Size, *, face_expansion: float, lips_expansion: float = _LIPS_EXPANSION
) -> RegionMasks:
    """Masks of one image, or of the union over several frames.

    Args:
        points_px: (478, 2 or more) landmarks, or (frames, 478, 2 or more).
        size: of the image.
        face_expansion, lips_expansion: sides of the rectangles over the sides of the landmarks' box.
    """
    face_box = landmark_box(points_px, FACE_OVAL, size, face_expansion)
    lips_box = landmark_box(points_px, OUTER_LIPS, size, lips_expansion)
    face = _blur(box_mask(face_box, size), _FACE_BLUR)
    lips = _blur(box_mask(lips_box, size), _LIPS_BLUR)
    # In floating point and truncated, as in Hallo: for 50 of the 256 values this is one less than 255 - x.
    picture = ((1.0 - face / 255.0) * 255).astype(np.uint8)
    return RegionMasks(
        picture, np.asarray(cv2.subtract(face, lips), np.uint8), lips, face, face_box, lips_box
    )


def landmark_box(points_px: Floats, indices: Sequence[int], size: Size, expansion: float) -> Box:
    """Box of some landmarks in whole pixels, expanded within the image; for several frames their union."""
    frames = np.asarray(points_px, np.float64)[..., list(indices), :2].reshape(-1, len(indices), 2)
    low, high = (np.rint(edge).astype(int) for edge in (frames.min(axis=1), frames.max(axis=1)))
    boxes = np.array(
        [
            expand_box((int(x0), int(y0), int(x1), int(y1)), size, expansion)
            for (x0, y0), (x1, y1) in zip(low, high, strict=True)
        ]
    )
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    return int(x0), int(y0), int(x1), int(y1)


def expand_box(box: Box, size: Size, ratio: float) -> Box:
    """The box with its sides times `ratio` around the same centre, shifted back into the image.

    A box that is larger than the image is clipped to it.
    """
    x0, x1 = _expand_range(box[0], box[2], size[0], ratio)
    y0, y1 = _expand_range(box[1], box[3], size[1], ratio)
    return x0, y0, x1, y1


def _expand_range(low: int, high: int, limit: int, ratio: float) -> tuple[int, int]:
    middle, half = (high + low) // 2, int((high - low) * ratio // 2)
    low, high = middle - half, middle + half
    if low < 0:
        low, high = 0, high - low
    if high > limit:
        low, high = max(0, low - (high - limit)), limit
    return low, high


def box_mask(box: Box, size: Size) -> Mask:
    """(height, width) uint8: 255 inside the box, 0 outside."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


def resize_mask(mask: Mask, size: Size) -> NDArray[np.float32]:
    """(height, width) in [0, 1]: resized with Pillow's antialiased bilinear filter, rounded to 256 levels."""
    resized = Pillow.fromarray(mask).resize(size, Pillow.Resampling.BILINEAR)
    return np.asarray(resized, np.float32) / np.float32(255)


def level_sizes(size: Size, levels: int) -> list[Size]:
    """Sizes of the levels of a network: the first as given, each further one half of the one before."""
    return [(size[0] // 2**level, size[1] // 2**level) for level in range(levels)]


def _blur(mask: Mask, kernel: int) -> Mask:
    """The mask on the grid, blurred, and stretched to the full range 0 to 255 again."""
    small = cv2.resize(mask, (_GRID, _GRID))  # bilinear, without averaging
    soft = cv2.GaussianBlur(small, (kernel, kernel), 0)
    return np.asarray(cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX), np.uint8)


def part_masks(points: Floats, size_px: int) -> NDArray[np.float32]:
    """(3, size_px, size_px) in [0, 1]: the lips, the gap between them, and the eyes of one face.

    Unlike rectangles they show where the corners of the mouth are and whether it is open.

    Args:
        points: (478, 2 or more) landmarks in units of the image's side.
    """
    parts = ((OUTER_LIPS,), (INNER_LIPS,), (RIGHT_EYE, LEFT_EYE))
    return np.stack([_fill([points[list(contour), :2] for contour in part], size_px) for part in parts])


def _fill(contours: Sequence[Floats], size_px: int) -> NDArray[np.float32]:
    """(size_px, size_px) float32: share of each pixel inside contours (N, 2), in units of the side."""
    masks = [fill_contour(contour * size_px - 0.5, (size_px, size_px)) for contour in contours]
    return np.asarray(np.maximum.reduce(masks) / 255, np.float32)


def fill_contour(contour_px: Floats, size: Size, *, line_px: int = 0) -> Mask:
    """(height, width) uint8: share of each pixel inside a contour (N, 2); 255 is all of it.

    Args:
        size: width and height.
        line_px: thickness of a line drawn along the contour, 0 for none.
    """
    corners = np.round(contour_px * (1 << _FRACTION_BITS)).astype(np.int32)
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [corners], (255,), lineType=cv2.LINE_AA, shift=_FRACTION_BITS)
    if line_px:
        cv2.polylines(mask, [corners], True, (255,), line_px, cv2.LINE_AA, _FRACTION_BITS)
    return mask
