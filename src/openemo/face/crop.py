"""The square around a face: cuts it out for the networks and pastes frames back with a soft edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.arrays import Floats, Image
from openemo.errors import ImageError
from openemo.face.analyzer import Face
from openemo.face.turning import PictureTurn, affine_matrix

__all__ = ["FEATHER", "CropRegion", "Paster", "Resampling"]

Resampling = Literal["area", "antialiased", "bilinear"]


FEATHER: Final = 0.09  # width of the soft edge over the side of the region
_UNIT_CORNERS: Final = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])


@dataclass(frozen=True, slots=True)
class CropRegion:
    """A square in image pixels. Where it leaves the image, the border repeats.

    Attributes:
        centre_px: (2,) x, y.
        side_px: length of a side.
    """

    centre_px: Floats
    side_px: float

    @classmethod
    def around(cls, face: Face, scale: float) -> CropRegion:
        """The square centred on the face, `scale` times the longer side of its landmark box."""
        box = np.asarray(face.box_px, np.float64)
        return cls((box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * scale)

    @classmethod
    def largest(cls, face: Face, width_px: int, height_px: int) -> CropRegion:
        """The largest square within the image, centred on the face as far as the image allows."""
        side = min(width_px, height_px)
        box = np.asarray(face.box_px, np.float64)
        wanted = np.floor((box[:2] + box[2:]) / 2 - side / 2)
        corner = np.clip(wanted, 0, (width_px - side, height_px - side))
        return cls(corner + side / 2, float(side))

    @classmethod
    def inside(cls, face: Face, scale: float, width_px: int, height_px: int) -> CropRegion:
        """The face's box times `scale`, clipped to the image and then cut to a square, as in EchoMimic.

        In whole pixels and rounded as in the original. The margin below is that of the sides, also as there.
        """
        x0, y0, x1, y1 = integer_box(face)
        grow_x, grow_y = (int(length * (scale - 1) / 2) for length in (x1 - x0, y1 - y0))
        left, top = max(0, x0 - grow_x), max(0, y0 - grow_y)
        right, bottom = min(width_px, x1 + grow_x), min(height_px, y1 + grow_x)
        side = max(1, min(right - left, bottom - top))
        corner = np.array([(left + right) // 2 - side // 2, (top + bottom) // 2 - side // 2], np.float64)
        corner = np.clip(corner, 0, (max(0, width_px - side), max(0, height_px - side)))
        return cls(corner + side / 2, float(side))

    @property
    def box_px(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in whole pixels, always square. Cutting and pasting both use it."""
        side = max(1, round(self.side_px))
        x0, y0 = (int(np.floor(float(centre) - side / 2 + 0.5)) for centre in self.centre_px)
        return x0, y0, x0 + side, y0 + side

    def extract(self, image: Image, size_px: int | None = None, resampling: Resampling = "area") -> Image:
        """The region as (size_px, size_px, 3), or in its own resolution if `size_px` is None.

        Args:
            image: (height, width, 3), or (height, width) for a mask.
            resampling: "area" averages when it shrinks and is bicubic when it enlarges. "antialiased" is
                Pillow's bilinear filter. "bilinear" is OpenCV's, which skips pixels when it shrinks.
        """
        x0, y0, x1, y1 = self.box_px
        rows = np.clip(np.arange(y0, y1), 0, image.shape[0] - 1)
        columns = np.clip(np.arange(x0, x1), 0, image.shape[1] - 1)
        side_px = x1 - x0 if size_px is None else size_px
        return _resize(image[rows[:, None], columns], side_px, resampling)

    def paster(self, image: Image, turn: PictureTurn | None = None) -> Paster:
        """Pastes frames into this region of an image; with `turn`, into this region of the turned image."""
        return Paster(self, image, turn)

    def locator_mask(self, face: Face, size_px: int, margin: float) -> NDArray[np.float32]:
        """Mask for the face locator (EMO 3.2), (size_px, size_px) in [0, 1].

        1 inside the face's box, 0 outside. Pixels on the edge have the share of their area that is inside.

        Args:
            margin: enlarges the box on every side, over the box's own width and height.
        """
        x0, y0, x1, _ = self.box_px
        box = np.asarray(face.box_px, np.float64).reshape(2, 2)
        grow = (box[1] - box[0]) * margin
        low, high = ((edge - (x0, y0)) * size_px / (x1 - x0) for edge in (box[0] - grow, box[1] + grow))
        pixels = np.arange(size_px)[:, None]
        covered = np.clip(np.minimum(pixels + 1, high) - np.maximum(pixels, low), 0.0, 1.0)
        return np.outer(covered[:, 1], covered[:, 0]).astype(np.float32)


class Paster:
    """Pastes frames into one region of one image. All that frames have in common is computed once.

    Args:
        turn: the region is one of the turned image, and frames are turned back into the image as given.
    """

    def __init__(self, region: CropRegion, image: Image, turn: PictureTurn | None = None) -> None:
        self._image = image
        x0, y0, x1, _ = region.box_px
        self._side_px = x1 - x0
        linear, shift = (np.eye(2), np.zeros(2)) if turn is None else turn.to_given()
        corner = linear @ (x0, y0) + shift
        corners = _UNIT_CORNERS * self._side_px @ linear.T + corner
        # The part of the image that the region covers; it may be empty.
        size_px = image.shape[1::-1]
        low = np.clip(np.floor(np.round(corners.min(0), 6)), 0, size_px).astype(int)
        high = np.clip(np.ceil(np.round(corners.max(0), 6)), 0, size_px).astype(int)
        self._inner = (slice(low[1], high[1]), slice(low[0], high[0]))
        self._turn_matrix = None if turn is None else affine_matrix(linear, corner - low)
        # The same part in pixels of the frame, where it is not turned.
        self._source = tuple(slice(low[k] - (x0, y0)[k], high[k] - (x0, y0)[k]) for k in (1, 0))
        mask = self._part(feather_mask(self._side_px))
        self._mask = np.ascontiguousarray(mask)
        self._inverse = np.ascontiguousarray(1.0 - mask)
        self._background = np.ascontiguousarray(image[self._inner])
        self._edges = self._soft_edges()

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the image that the region covers."""
        return self._inner

    def __call__(self, frame: Image) -> Image:
        """A copy of the image with `frame` in the region.

        Args:
            frame: (S, S, channels of the image) uint8. Others raise ImageError.
        """
        if (
            frame.ndim != 3
            or frame.shape[0] != frame.shape[1]
            or frame.shape[2:] != self._image.shape[2:]
            or frame.dtype != np.uint8
        ):
            raise ImageError(
                "the frame to paste has the wrong form",
                got=f"shape {frame.shape}, {frame.dtype}",
                expected=f"a square uint8 frame of {self._image.shape[2]} channels",
            )
        if not self._mask.size:
            return self._image.copy()
        return self.paste_part(self._part(_resize(frame, self._side_px)))

    def paste_part(self, part: Image) -> Image:
        """A copy of the image with what it has of a frame, (h, w, C) uint8, at `place`."""
        result = self._image.copy() if part.size < self._image.size else np.empty_like(self._image)
        pasted = result[self._inner]
        pasted[:] = part
        for edge in self._edges:
            sides = (part[edge], self._background[edge], self._mask[edge], self._inverse[edge])
            pasted[edge] = cv2.blendLinear(*map(np.ascontiguousarray, sides))
        return result

    def _soft_edges(self) -> list[tuple[slice, slice]]:
        """Rectangles within the region that hold all pixels of which a frame replaces only a share."""
        height, width = self._mask.shape
        whole = (slice(0, height), slice(0, width))
        if self._turn_matrix is not None:
            return [whole]
        rows, columns = (np.flatnonzero((self._mask == 1).any(axis)) for axis in (1, 0))
        if not rows.size:
            return [whole]
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        middle = slice(top, bottom)
        edges = [
            (slice(0, top), whole[1]),
            (slice(bottom, height), whole[1]),
            (middle, slice(0, left)),
            (middle, slice(right, width)),
        ]
        return [edge for edge in edges if all(side.stop > side.start for side in edge)]

    def _part(self, frame: NDArray[Any]) -> NDArray[Any]:
        """What of a frame or mask, one pixel for each of the image, lies in the image."""
        if self._turn_matrix is None:
            return frame[self._source]
        rows, columns = self._inner
        size = (columns.stop - columns.start, rows.stop - rows.start)
        if 0 in size:
            return np.zeros((size[1], size[0]), frame.dtype)
        # The edge of the frame has no weight; beyond it the mask must have none either.
        border = cv2.BORDER_REPLICATE if frame.ndim == 3 else cv2.BORDER_CONSTANT
        return np.asarray(
            cv2.warpAffine(frame, self._turn_matrix, size, flags=cv2.INTER_CUBIC, borderMode=border)
        )


def feather_mask(side_px: int) -> NDArray[np.float32]:
    """(side_px, side_px) weight of the pasted frame: 0 at the edge, 1 inside, a smooth step in between."""
    width = max(1.0, FEATHER * side_px)
    distance = np.minimum(np.arange(side_px), np.arange(side_px)[::-1]).astype(np.float32) / width
    ramp = np.clip(distance, 0.0, 1.0)
    smooth = ramp * ramp * (3.0 - 2.0 * ramp)
    return np.outer(smooth, smooth).astype(np.float32)


def integer_box(face: Face) -> tuple[int, int, int, int]:
    """The face's box in whole pixels, x0, y0, x1, y1."""
    x0, y0, x1, y1 = (int(edge) for edge in np.rint(np.asarray(face.box_px, np.float64)))
    return x0, y0, x1, y1


def _resize(image: Image, size_px: int, resampling: Resampling = "area") -> Image:
    """A square image as (size_px, size_px); the same object if it has this size."""
    if image.shape[0] == size_px:
        return image
    size = (size_px, size_px)
    if resampling == "antialiased":
        # A copy, because arrays from Pillow are read-only.
        return np.array(Pillow.fromarray(image).resize(size, Pillow.Resampling.BILINEAR), np.uint8)
    method = cv2.INTER_AREA if size_px < image.shape[0] else cv2.INTER_CUBIC
    if resampling == "bilinear":
        method = cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
