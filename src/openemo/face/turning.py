"""Turns a picture so that a face in it is upright."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.errors import ImageError
from openemo.face.square_sampling import rotation_matrix

__all__ = ["PictureTurn", "affine_matrix"]

_MAX_SIDE_PX: Final = 32_766  # of what OpenCV's warpAffine reads and writes


@dataclass(frozen=True, slots=True)
class PictureTurn:
    """A rotation of a whole picture, between pixels as given and pixels of the turned picture.

    Attributes:
        angle_deg: clockwise, from the turned picture to the given one: the roll of a face that comes to
            stand upright. For multiples of 90 every pixel stays what it was.
        width_px, height_px: of the given picture.
    """

    angle_deg: float
    width_px: int
    height_px: int

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(2, 2), from the turned picture to the given one, both seen from their middle."""
        return np.round(rotation_matrix(float(np.radians(self.angle_deg))), 12)

    @property
    def turned_size_px(self) -> tuple[int, int]:
        """Width and height of the smallest picture that holds the turned one."""
        width, height = np.abs(self.rotation.T) @ (self.width_px, self.height_px)
        return int(np.ceil(round(width, 6))), int(np.ceil(round(height, 6)))

    def apply(self, image: Image) -> Image:
        """The turned picture. Outside of the given one its border repeats.

        Args:
            image: (height, width, 3) uint8, or (height, width).

        Raises:
            ImageError: a side is too long to be turned.
        """
        quarters, rest = divmod(self.angle_deg, 90)
        if rest == 0:
            return np.ascontiguousarray(np.rot90(image, int(quarters)))
        size = self.turned_size_px
        if max(*size, *image.shape[:2]) > _MAX_SIDE_PX:
            raise ImageError(
                "the picture is too long to be turned upright",
                got=f"{image.shape[1]}x{image.shape[0]} px, {max(size)} px when turned",
                expected=f"at most {_MAX_SIDE_PX} px",
                fix="Make it smaller, or turn it upright before",
            )
        linear, shift = self.to_given()
        return np.asarray(
            cv2.warpAffine(
                image,
                affine_matrix(linear, shift),
                size,
                flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )

    def points_to_turned(self, points: Floats) -> Floats:
        """(..., 2 or 3) positions in the given picture, px -> in the turned one; depth stays."""
        linear, shift = self.to_given()
        return _with_plane(points, (points[..., :2] - shift) @ linear)  # rows, so this is the inverse

    def points_to_given(self, points: Floats) -> Floats:
        """The inverse of `points_to_turned`."""
        linear, shift = self.to_given()
        return _with_plane(points, points[..., :2] @ linear.T + shift)

    def to_given(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix and shift from positions in the turned picture to positions in the given one, px."""
        linear = self.rotation
        middle = np.array([self.width_px, self.height_px]) / 2
        return linear, middle - linear @ np.array(self.turned_size_px) / 2


def affine_matrix(linear: Floats, shift: Floats) -> NDArray[np.float64]:
    """(2, 3) for OpenCV, which counts from the centre of the first pixel; other positions from its edge."""
    offset = shift + linear @ np.full(2, 0.5) - 0.5
    return np.concatenate([linear, offset[:, None]], axis=1)


def _with_plane(points: Floats, plane: Floats) -> Floats:
    return np.concatenate([plane, points[..., 2:]], axis=-1).astype(points.dtype)
