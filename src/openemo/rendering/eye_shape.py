"""Where lids, crease and iris of one eye are, for each pixel of the box that an eye changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.rendering.corner_line import CornerLine
from openemo.rendering.eye_fields import Field, smoothstep

__all__ = ["EyeShape", "place_on_box"]

_LOWER_LID: Final = 0.08  # how far a blink raises the lower lid, over the height of the open eye
# Lengths in widths of the eye.
_BESIDE: Final = 0.2  # of the box beyond each corner: lashes of the outer corner
_ABOVE, _BELOW = 0.05, 0.05  # of the box beyond crease and fold
_LASHES: Final = 0.14  # of the box above the upper lid, at least
_SMOOTH: Final = 0.025  # the contours have nine points
_SHUT_SMOOTH: Final = 0.09  # shut lids meet in a flatter curve than that of the open lower lid
_MOVES_BESIDE: Final = 0.15  # how far beyond the corners the lids' edge moves
_WIDER: Final = 1.07  # the corners of the landmarks lie inside those of the opening
_MIN_PLATFORM, _MIN_BELOW = 0.05, 0.06  # least height of the lids' skin


@dataclass(frozen=True, slots=True)
class EyeShape:
    """One eye. Fields are (h, w) float32 over the pixels of the box; s and t as in `CornerLine`.

    Attributes:
        line: from the outer corner to the inner one.
        corner_px: x0, y0 of the box in the picture.
        columns, rows: of the box's own pixels, px.
        s: position along the line, 0 to 1 between the corners.
        t: position below the line, px.
        upper, lower: t of the edges of both lids.
        crease, below: t of the crease and of the lower lid's fold.
        shut: t of the line where both lids meet.
        gap: lower - upper, 0 beyond the corners.
        openness: gap over its largest value, 0 to 1.
        motion: share of a blink that each column makes: 1 between the corners, 0 some way beyond them.
        iris_px: (2,) middle of the iris in the picture.
        iris_radius_px: its radius.
        opening: largest gap over the width of the eye, no unit.
    """

    line: CornerLine
    corner_px: tuple[int, int]
    columns: Field
    rows: Field
    s: Field
    t: Field
    upper: Field
    lower: Field
    crease: Field
    below: Field
    shut: Field
    gap: Field
    openness: Field
    motion: Field
    iris_px: Floats
    iris_radius_px: float
    opening: float

    @property
    def width_px(self) -> float:
        return self.line.width_px

    @classmethod
    def of(
        cls,
        points_px: Floats,
        contour: tuple[int, ...],
        ring: tuple[int, ...],
        iris: tuple[int, ...],
        size_px: tuple[int, int],
    ) -> Self | None:
        """The eye of these landmarks (478, 2); None if it is outside of the picture.

        Args:
            contour, ring, iris: landmarks of the lids' edges, of crease and fold, of the iris.
            size_px: height and width of the picture.
        """
        line = CornerLine.between(points_px[contour[0]], points_px[contour[8]])
        width, grid = line.width_px, np.linspace(-1, 2, 601)
        curves = _lid_curves(points_px, line, contour, ring, grid)
        top = min(curves["crease"].min() - _ABOVE * width, curves["upper"].min() - _LASHES * width)
        box = _box(line, (float(top), float(curves["below"].max()) + _BELOW * width), size_px)
        if box is None:
            return None
        x0, y0, x1, y1 = box
        rows, columns = np.mgrid[: y1 - y0, : x1 - x0].astype(np.float32)
        s, t = line.to_line(np.stack([columns + (x0 + 0.5), rows + (y0 + 0.5)], -1))
        fields = {name: np.asarray(np.interp(s, grid, curve), np.float32) for name, curve in curves.items()}
        middle, *rim = points_px[list(iris)]
        return cls(
            line=line,
            corner_px=(x0, y0),
            columns=columns,
            rows=rows,
            s=np.asarray(s, np.float32),
            t=np.asarray(t, np.float32),
            **fields,
            iris_px=middle,
            iris_radius_px=max(float(np.linalg.norm(np.stack(rim) - middle, axis=1).mean()), 1.0),
            opening=float(curves["gap"].max()) / width,
        )

    def sample(
        self, image: NDArray[np.float32], offset: Field, *, beyond: float | None = None
    ) -> NDArray[np.float32]:
        """An image of the box, (h, w) or (h, w, 3), at positions `offset` px further down the eye.

        Args:
            beyond: value outside of the box; None mirrors the image.
        """
        dx, dy = (np.float32(share) for share in self.line.down)
        return _remap(image, self.columns + dx * offset, self.rows + dy * offset, beyond)

    def shifted(self, image: NDArray[np.float32], right: Field, down: Field) -> NDArray[np.float32]:
        """An image of the box at positions moved by so many px of the picture."""
        return _remap(image, self.columns + right, self.rows + down)

    @property
    def x(self) -> Field:
        """Positions of the pixels' centres in the picture, px."""
        return np.asarray(self.columns + (self.corner_px[0] + 0.5), np.float32)

    @property
    def y(self) -> Field:
        return np.asarray(self.rows + (self.corner_px[1] + 0.5), np.float32)

    def cut(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """The pixels of a picture in the box, float32."""
        x0, y0 = self.corner_px
        height, width = self.s.shape
        return np.ascontiguousarray(image[y0 : y0 + height, x0 : x0 + width], np.float32)


def place_on_box(shape: EyeShape, field: Field, positions_px: NDArray[np.floating]) -> Field:
    """A field of the box at columns and rows (..., 2) of the picture; its border repeats."""
    columns, rows = np.moveaxis(positions_px - np.array(shape.corner_px), -1, 0).astype(np.float32)
    drawn = cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.float32)


def _lid_curves(
    points_px: Floats, line: CornerLine, contour: tuple[int, ...], ring: tuple[int, ...], grid: Floats
) -> dict[str, Floats]:
    """The fields of `EyeShape` that hang on s alone, on a grid of s."""
    ends = (contour[0], contour[8])
    upper, lower, crease, below = (
        _smooth_curve(line, points_px[list(part)], grid)
        for part in (
            (ends[0], *contour[:8:-1], ends[1]),
            contour[:9],
            (ring[15], *ring[:7], ring[7]),
            (ring[15], *ring[14:7:-1], ring[7]),
        )
    )
    width = line.width_px
    lower = np.maximum(lower, upper)
    gap = lower - upper
    return {
        "upper": upper,
        "lower": lower,
        "crease": np.minimum(crease, upper - _MIN_PLATFORM * width),
        "below": np.maximum(below, lower + _MIN_BELOW * width),
        "shut": _smooth(lower - _LOWER_LID * gap, _SHUT_SMOOTH, grid),
        "gap": gap,
        "openness": np.clip(gap / max(float(gap.max()), 1e-6), 0, 1),
        "motion": 1 - smoothstep(np.abs(grid - 0.5), 0.5, 0.5 + _MOVES_BESIDE),
    }


def _smooth_curve(line: CornerLine, points_px: Floats, grid: Floats) -> Floats:
    """t on the grid of s, of a curve that ends at the corners of the opening."""
    s, t = line.curve(points_px)
    dense = np.interp(grid, 0.5 + (s - 0.5) * _WIDER, t)
    return _smooth(dense, _SMOOTH, grid)


def _smooth(dense: Floats, sigma_s: float, grid: Floats) -> Floats:
    sigma = sigma_s / (grid[1] - grid[0])
    reach = np.arange(-round(3 * sigma), round(3 * sigma) + 1)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    padded = np.pad(dense, len(reach) // 2, mode="edge")
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), "valid"))


def _box(
    line: CornerLine, span_px: tuple[float, float], size_px: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 within the picture; None if it is smaller than 4 px."""
    s = np.array([-_BESIDE, 1 + _BESIDE])
    corners = line.to_pixels(*np.meshgrid(s, span_px)).reshape(-1, 2)
    limit = np.array(size_px[::-1])
    low = np.clip(np.floor(corners.min(0)), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0)), 0, limit).astype(int)
    if (high - low).min() < 4:
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _remap(
    image: NDArray[np.float32], columns: Field, rows: Field, beyond: float | None = None
) -> NDArray[np.float32]:
    border = cv2.BORDER_REFLECT if beyond is None else cv2.BORDER_CONSTANT
    value = (beyond or 0.0,) * 4
    drawn = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=border, borderValue=value)
    return np.asarray(drawn, np.float32)
