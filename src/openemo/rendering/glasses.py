"""Rims of glasses in front of the eyes, which stay where they are while the lids behind them move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.rendering.corner_line import CornerLine
from openemo.rendering.eye_fields import Field
from openemo.rendering.eye_shape import EyeShape, place_on_box

__all__ = ["rim_masks"]

_FACE_PX: Final = 240  # distance of the outer corners in the picture that is searched
# Lengths in distances of the outer corners of both eyes.
_BESIDE, _AROUND = 0.2, 0.25  # of the searched picture beyond the corners, and above and below them
_THICKNESS: Final = 0.07  # of the thickest rim
_BRIDGE: Final = 0.05  # half of the width of the nose that the bridge must cross
_SOFT: Final = 0.006
_CONTRAST: Final = 0.22  # over the brightness around
# Lashes and lids are no rims. In widths of the eye, above and below the lids' edges and beyond the corners.
_NEAR_LID, _LIDS_BESIDE = 0.04, 0.1
_OVER_EYE, _MOST = 0.3, 0.6  # width on both sides of its middle, and the part of it in which a rim is seen


def rim_masks(image: Image, line: CornerLine, shapes: Sequence[EyeShape]) -> list[Field | None]:
    """For each eye (h, w) in its box: 1 on a rim, 0 elsewhere; None if there is none near the lids.

    A rim is told from brows and creases by the bridge: it goes on over the nose.

    Args:
        image: (Q, Q, 3) uint8 RGB.
        line: between the outer corners of both eyes.
        shapes: both eyes.
    """
    positions = _searched_positions(line)
    scale = _FACE_PX / line.width_px
    blurred = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 1 else image
    columns, rows = np.moveaxis(positions.astype(np.float32), -1, 0)
    colours = cv2.remap(blurred, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lines = _thin_lines(colours.astype(np.float32).mean(-1))
    for shape in shapes:
        lines &= ~_near(shape, positions, shape.upper)
    mask = _crossing_the_nose(lines)
    for shape in shapes:
        if _is_above(mask, shape, positions):
            mask[_near(shape, positions, np.minimum(shape.crease, shape.upper))] = 0
    return [_on_box(mask, line, shape) for shape in shapes] if mask.any() else [None] * len(shapes)


def _searched_positions(line: CornerLine) -> Floats:
    """Columns and rows in the portrait of each pixel that is searched, (h, w, 2)."""
    s = (np.arange(round((1 + 2 * _BESIDE) * _FACE_PX)) + 0.5) / _FACE_PX - _BESIDE
    t = (np.arange(round(2 * _AROUND * _FACE_PX)) + 0.5) / _FACE_PX - _AROUND
    return line.to_pixels(*np.meshgrid(s, t * line.width_px)) - 0.5


def _thin_lines(brightness: Field) -> NDArray[np.bool_]:
    side = round(_THICKNESS * _FACE_PX) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    darker = cv2.morphologyEx(brightness, cv2.MORPH_BLACKHAT, kernel)
    lighter = cv2.morphologyEx(brightness, cv2.MORPH_TOPHAT, kernel)
    contrast = np.maximum(darker / (brightness + darker + 1), lighter / (brightness + 1))
    return np.asarray(contrast > _CONTRAST)


def _near(shape: EyeShape, positions: Floats, top: Field) -> NDArray[np.bool_]:
    """The pixels between `top` and the lower lid, and a little around."""
    outside = np.maximum(top - shape.t, shape.t - shape.lower)
    near = place_on_box(shape, outside, positions) < _NEAR_LID * shape.width_px
    s, _ = shape.line.to_line(positions + 0.5)
    return np.asarray(near & (np.abs(s - 0.5) < 0.5 + _LIDS_BESIDE))


def _is_above(mask: Field, shape: EyeShape, positions: Floats) -> bool:
    """A rim goes by above the fold of the lid, so that what meets it at the fold is no rim."""
    height = place_on_box(shape, shape.crease - shape.t, positions)
    s, _ = shape.line.to_line(positions + 0.5)
    over_eye = np.abs(s - 0.5) < _OVER_EYE
    is_rim = over_eye & (mask > 0) & (height > _NEAR_LID * shape.width_px)
    return bool(is_rim.any(0).sum() > _MOST * over_eye.any(0).sum())


def _crossing_the_nose(lines: NDArray[np.bool_]) -> Field:
    """The lines that go from one side of the nose to the other."""
    _, labels = cv2.connectedComponents(lines.astype(np.uint8), connectivity=8)
    middle, half = labels.shape[1] // 2, round(_BRIDGE * _FACE_PX)
    sides = (labels[:, middle - half], labels[:, middle], labels[:, middle + half])
    crossing = set(sides[0]).intersection(*sides[1:]) - {0}
    mask = np.isin(labels, list(crossing)).astype(np.float32)
    return np.asarray(cv2.dilate(mask, np.ones((3, 3), np.uint8)), np.float32)


def _on_box(mask: Field, line: CornerLine, shape: EyeShape) -> Field | None:
    s, t = line.to_line(np.stack([shape.x, shape.y], -1))
    columns = ((s + _BESIDE) * _FACE_PX - 0.5).astype(np.float32)
    rows = ((t / line.width_px + _AROUND) * _FACE_PX - 0.5).astype(np.float32)
    drawn = cv2.remap(mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    soft = cv2.GaussianBlur(drawn, (0, 0), max(0.5, _SOFT * line.width_px))
    return np.asarray(soft, np.float32) if soft.max() > 0.5 else None
