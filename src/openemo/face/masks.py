"""Soft masks of the picture, the face and the lips, for networks whose sound acts by regions (Hallo, 3.3).

Rectangles around landmarks, blurred on a grid of 64 x 64 whatever the picture's size, and from there brought
to the size of each level of the network. Roundings, truncations included, are those that the published
weights were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.face.geometry import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE

__all__ = [
    "Box",
    "RegionMasks",
    "box_mask",
    "expand",
    "fill_contour",
    "landmark_box",
    "part_masks",
    "pyramid",
    "region_masks",
    "resize_soft",
]

Floats = NDArray[np.floating]
Mask = NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height of a picture, px."""
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are the first outside."""

_GRID: Final = 64
_FACE_BLUR, _LIPS_BLUR = 51, 31  # kernels; OpenCV gives them a spread of 8 and 5 cells
LIPS_EXPANSION: Final = 2.0
_FRACTION_BITS: Final = 4  # of OpenCV's sub-pixel polygons


@dataclass(frozen=True, slots=True)
class RegionMasks:
    """Masks on the grid of 64 x 64, uint8. They do not add up to 255: the lips are in `picture` too.

    Attributes:
        picture: everything but the face.
        face: the face without the lips.
        lips: the lips.
        face_blurred: the face with the lips.
        face_box, lips_box: the rectangles before the blur, px of the picture.
    """

    picture: Mask
    face: Mask
    lips: Mask
    face_blurred: Mask
    face_box: Box
    lips_box: Box

    def levels(self, sizes: Sequence[Size]) -> list[NDArray[np.float32]]:
        """For each size (width, height) the three masks (3, height, width) in [0, 1], in the order above."""
        three = (self.picture, self.face, self.lips)
        return [np.stack([resize_soft(mask, size) for mask in three]) for size in sizes]


def region_masks(
    points_px: Floats, size: Size, *, face_expansion: float, lips_expansion: float = LIPS_EXPANSION
) -> RegionMasks:
    """Masks of one picture, or of the union over several frames of one.

    Args:
        points_px: (478, 2 or more) landmarks, or (frames, 478, 2 or more).
        size: of the picture.
        face_expansion, lips_expansion: sides of the rectangles over those of the landmarks' box.
    """
    face_box = landmark_box(points_px, FACE_OVAL, size, face_expansion)
    lips_box = landmark_box(points_px, OUTER_LIPS, size, lips_expansion)
    face = _blurred(box_mask(face_box, size), _FACE_BLUR)
    lips = _blurred(box_mask(lips_box, size), _LIPS_BLUR)
    # In floating point and cut off, which is one less than 255 - x for 50 of the 256 values.
    picture = ((1.0 - face / 255.0) * 255).astype(np.uint8)
    return RegionMasks(
        picture, np.asarray(cv2.subtract(face, lips), np.uint8), lips, face, face_box, lips_box
    )


def landmark_box(points_px: Floats, indices: Sequence[int], size: Size, expansion: float) -> Box:
    """Box of some landmarks in whole pixels, expanded within the picture; around those of several frames."""
    frames = np.asarray(points_px, np.float64)[..., list(indices), :2].reshape(-1, len(indices), 2)
    low, high = (np.rint(edge).astype(int) for edge in (frames.min(axis=1), frames.max(axis=1)))
    boxes = np.array(
        [
            expand((int(x0), int(y0), int(x1), int(y1)), size, expansion)
            for (x0, y0), (x1, y1) in zip(low, high, strict=True)
        ]
    )
    x0, y0 = boxes[:, :2].min(axis=0)
    x1, y1 = boxes[:, 2:].max(axis=0)
    return int(x0), int(y0), int(x1), int(y1)


def expand(box: Box, size: Size, ratio: float) -> Box:
    """The box with its sides times `ratio` around the same middle, shifted back into the picture.

    A box that is larger than the picture is cut to it.
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


def resize_soft(mask: Mask, size: Size) -> NDArray[np.float32]:
    """Resized to (width, height) with Pillow's averaging bilinear filter, in 256 grey levels; in [0, 1]."""
    resized = Pillow.fromarray(mask).resize(size, Pillow.Resampling.BILINEAR)
    return np.asarray(resized, np.float32) / np.float32(255)


def pyramid(size: Size, levels: int) -> list[Size]:
    """Sizes of the levels of a network, the first one given, each further one half of the one before."""
    return [(size[0] // 2**level, size[1] // 2**level) for level in range(levels)]


def _blurred(mask: Mask, kernel: int) -> Mask:
    """On the grid, blurred, and stretched to the full range of grey again."""
    small = cv2.resize(mask, (_GRID, _GRID))  # bilinear without averaging
    soft = cv2.GaussianBlur(small, (kernel, kernel), 0)
    return np.asarray(cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX), np.uint8)


def part_masks(points: Floats, size_px: int) -> NDArray[np.float32]:
    """(3, size_px, size_px) in [0, 1]: the lips, the gap between them, and the eyes of one face.

    Unlike rectangles they say where the corners of the mouth lie, and whether it is open.

    Args:
        points: (478, 2 or more) landmarks in units of the picture's side.
    """
    parts = ((OUTER_LIPS,), (INNER_LIPS,), (RIGHT_EYE, LEFT_EYE))
    return np.stack([_filled([points[list(contour), :2] for contour in part], size_px) for part in parts])


def _filled(contours: Sequence[Floats], size_px: int) -> NDArray[np.float32]:
    """(size_px, size_px) float32: covered parts of pixels inside contours (N, 2), in units of the side."""
    masks = [fill_contour(contour * size_px - 0.5, (size_px, size_px)) for contour in contours]
    return np.asarray(np.maximum.reduce(masks) / 255, np.float32)


def fill_contour(contour_px: Floats, size: Size, *, line_px: int = 0) -> Mask:
    """(height, width) uint8: covered parts of pixels inside a contour (N, 2), 255 for all of one.

    Args:
        line_px: thickness of a line drawn around it, 0 for none.
    """
    corners = np.round(contour_px * (1 << _FRACTION_BITS)).astype(np.int32)
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [corners], (255,), lineType=cv2.LINE_AA, shift=_FRACTION_BITS)
    if line_px:
        cv2.polylines(mask, [corners], True, (255,), line_px, cv2.LINE_AA, _FRACTION_BITS)
    return mask
