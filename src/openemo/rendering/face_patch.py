"""An upright square around a face in a photo, and smooth warps of the photo within it.

Lengths are px of the patch unless said. Shapes: K nodes, h x w the part of the photo under the patch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import LEFT_EYE, RIGHT_EYE
from openemo.face.square_sampling import rotation_matrix, sample_square
from openemo.rendering.landmark_flow import backward_flow

__all__ = ["FacePatch", "Nodes", "Place", "replace_moved"]

_SIDE: Final = 2.0  # of the patch, over the longer side of the face
_MAX_SIDE_PX: Final = 1024
_GRID: Final = 128  # cells of a warp along the patch
_STILL_PX: Final = 0.02  # what moves by less keeps its pixels

Nodes = tuple[Floats, Floats]
"""Points (K, 2) before and after a motion."""

Place = tuple[slice, slice]
"""Rows and columns of a photo."""


@dataclass(frozen=True, slots=True)
class FacePatch:
    """An upright square around a face in a photo.

    Attributes:
        centre_px, side_px: in the photo, px.
        angle: roll of the face, radians.
        size_px: side of the patch.
    """

    centre_px: Floats
    side_px: float
    angle: float
    size_px: int

    @classmethod
    def around(cls, points_px: Floats) -> FacePatch:
        points = np.asarray(points_px[:, :2], np.float64)
        across = points[LEFT_EYE[0]] - points[RIGHT_EYE[0]]
        angle = float(np.arctan2(across[1], across[0]))
        upright = points @ rotation_matrix(angle)
        low, high = upright.min(0), upright.max(0)
        side_px = _SIDE * float((high - low).max())
        size_px = max(min(round(side_px), _MAX_SIDE_PX), 1)
        return cls(rotation_matrix(angle) @ ((low + high) / 2), side_px, angle, size_px)

    def read(self, image: Image, points_px: Floats) -> tuple[Image, Floats]:
        """The patch (size_px, size_px, 3), and landmarks (N, 2) in its px."""
        pixels = sample_square(
            image, self.centre_px, self.side_px, self.angle, self.size_px, cv2.BORDER_REPLICATE
        )
        return pixels, self.from_image(np.asarray(points_px[:, :2], np.float64))

    def from_image(self, positions_px: Floats) -> Floats:
        """Positions (..., 2) of the photo in px of the patch."""
        matrix = rotation_matrix(self.angle) * (self.size_px / self.side_px)
        return _affine(positions_px, matrix, self.size_px / 2 - self.centre_px @ matrix)

    def to_image(self, positions: Floats) -> Floats:
        """The inverse of `from_image`."""
        matrix = rotation_matrix(-self.angle) * (self.side_px / self.size_px)
        return _affine(positions, matrix, self.centre_px - self.size_px / 2 * matrix.sum(0))

    def place(self, image: Image) -> tuple[slice, slice]:
        """Rows and columns of the photo around the patch."""
        corners = self.to_image(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * float(self.size_px))
        limit = np.array(image.shape[1::-1])
        low = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
        high = np.clip(np.ceil(corners.max(0)), low, limit).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def positions(self, image: Image) -> tuple[Place, Floats]:
        """The part of the photo under the patch, and where its pixels are in the patch, (h, w, 2)."""
        place = self.place(image)
        y, x = np.mgrid[place].astype(np.float32)
        return place, self.from_image(np.stack([x, y], -1) + np.float32(0.5))

    def displacement(self, nodes: Nodes, positions: Floats, *, in_image: bool = False) -> Floats:
        """(h, w, 2): how far from each position after the motion the one before it lies.

        Args:
            in_image: the nodes are px of the photo.
        """
        before, after = (self.from_image(points) if in_image else points for points in nodes)
        flow = backward_flow(before / self.size_px, after / self.size_px, _GRID) * np.float32(self.size_px)
        cells = np.float32(_GRID / self.size_px) * positions.astype(np.float32) - np.float32(0.5)
        field = np.ascontiguousarray(np.moveaxis(flow, 0, -1))
        return np.asarray(cv2.remap(field, cells, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT))

    def sample(self, image: Image, positions: Floats) -> NDArray[np.float32]:
        """(h, w, 3): the photo at positions; for OpenCV a whole number is a pixel's centre."""
        places = self.to_image(positions) - np.float32(0.5)
        return np.asarray(
            cv2.remap(image, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32
        )


def _affine(positions: Floats, matrix: Floats, shift: Floats) -> Floats:
    """positions @ matrix + shift, in the dtype of the positions."""
    return positions @ matrix.astype(positions.dtype) + shift.astype(positions.dtype)


def replace_moved(image: Image, place: Place, drawn: NDArray[Any], shift: Floats) -> Image:
    """A copy of the photo with what was drawn (h, w, 3) where `shift` (h, w) is no rounding error."""
    result = image.copy()
    is_moved = shift > _STILL_PX
    result[place][is_moved] = np.clip(np.round(drawn), 0, 255)[is_moved]
    return result
