"""Closes the eyes of a portrait: draws the lids down over the eyeballs before the flow moves anything.

A warp squeezes the whole eye, and the flow grid is too coarse for an eyelid. A real eye does not shrink when
it closes: the skin between crease and lashes stretches, the lashes move with it, and the eyeball stays in
place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import LEFT_EYE, LIDS, RIGHT_EYE
from openemo.rendering.corner_line import CornerLine, piecewise_linear

__all__ = ["Eyelids"]


_STEPS: Final = 16  # distinct lid positions between open and closed
# How far a blink moves the lower lid, the skin above the eye and the skin below it, over the height of the
# open eye: means of 149 blinks of the training speaker.
_LOWER_LID, _SKIN_ABOVE, _SKIN_BELOW = 0.1, 0.18, 0.09
# Lengths in widths of the eye.
_LASHES: Final = 0.05  # height of the upper lid's edge, which is moved without stretching
_SHADOW_SIGMA: Final = 0.025  # of the dark line where the lids meet
_REACH: Final = 0.5  # how far above and below the eye the skin moves
_SHADOW: Final = 0.35  # share of brightness that the dark line takes away
_SOFT_EDGE_PX: Final = 0.75  # width of a lid's edge, where the pixels mix eyeball and skin


class Eyelids:
    """The eyelids of one portrait.

    Args:
        image: (P, P, 3) uint8 RGB.
        points: (478, 2 or more) landmarks, in units of the image's side.
        finish: is applied to each drawn image; it runs once for each distinct lid position.
    """

    def __init__(
        self, image: Image, points: Floats, *, finish: Callable[[Image], Image] | None = None
    ) -> None:
        self._image = image
        self._finish = finish
        points_px = np.asarray(points[:, :2] * image.shape[0], np.float64)
        self._eyes = [
            _Eye(points_px, contour, ring)
            for contour, ring in ((RIGHT_EYE, LIDS[:16]), (LEFT_EYE, LIDS[16:]))
        ]
        self._drawn: dict[int, Image] = {}

    def draw_closed(self, amount: float) -> Image:
        """The portrait with its eyes closed by `amount`: 0 as in the photo, 1 fully closed."""
        step = round(min(max(amount, 0.0), 1.0) * _STEPS)
        if step not in self._drawn:
            drawn = self._image
            if step:
                drawn = drawn.copy()
                for eye in self._eyes:
                    eye.draw_closed(drawn, self._image, step / _STEPS)
            self._drawn[step] = drawn if self._finish is None else self._finish(drawn)
        return self._drawn[step]


class _Eye:
    """Curves of one eye, in the coordinates of the line between its corners."""

    def __init__(self, points_px: Floats, contour: tuple[int, ...], ring: tuple[int, ...]) -> None:
        corners = (contour[0], contour[8])
        self._line = CornerLine.between(*points_px[list(corners)])
        self._upper_lid, self._lower_lid, self._crease, self._below = (
            self._line.curve(points_px[list(part)])
            for part in (
                (corners[0], *contour[:8:-1], corners[1]),
                contour[:9],
                (ring[15], *ring[:7], ring[7]),
                (ring[15], *ring[14:7:-1], ring[7]),
            )
        )

    def draw_closed(self, target: Image, image: Image, amount: float) -> None:
        """Draws the eye of `image`, closed by `amount`, into `target` in place."""
        (x0, y0), (x1, y1) = self._box(image)
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float64)
        s, t = self._line.to_line(np.stack([x, y], -1))
        width = self._line.width_px
        upper, lower, crease, below = (
            np.interp(s, *curve) for curve in (self._upper_lid, self._lower_lid, self._crease, self._below)
        )
        gap = np.where((s > 0) & (s < 1), np.maximum(lower - upper, 0), 0) * amount
        crease, below = np.minimum(crease, upper - 2), np.maximum(below, lower + 2)
        lashes = np.minimum(_LASHES * width, 0.5 * (upper - crease))
        # Edges of both lids in the result, and what they show of the photo.
        upper_edge, lower_edge = upper + (1 - _LOWER_LID) * gap, lower - _LOWER_LID * gap
        upper_source, lower_source = (
            upper - np.minimum(gap, _SOFT_EDGE_PX),
            lower + np.minimum(gap, _SOFT_EDGE_PX),
        )
        top, bottom = crease - _REACH * width, below + _REACH * width
        upper_lid = piecewise_linear(
            t,
            (top, crease + _SKIN_ABOVE * gap, upper_edge - lashes, upper_edge),
            (top, crease, upper_source - lashes, upper_source),
        )
        lower_lid = piecewise_linear(
            t, (lower_edge, below - _SKIN_BELOW * gap, bottom), (lower_source, below, bottom)
        )
        drawn = image[y0:y1, x0:x1].astype(np.float64)
        is_upper, is_lower = (
            np.clip(distance + 0.5, 0, 1)[..., None] for distance in (upper_edge - t, t - lower_edge)
        )
        # No eyeball shows through where the soft edges of both lids meet.
        is_lower = np.maximum(is_lower, 1 - np.clip(lower_edge - upper_edge, 0, 1)[..., None])
        # Only pixels on an edge are mixed, so the eyeball stays as sharp as it is.
        drawn += is_lower * (self._sample_below(image, x, y, lower_lid - t) - drawn)
        drawn += is_upper * (self._sample_below(image, x, y, upper_lid - t) - drawn)
        shadow = np.exp(-0.5 * ((t - upper_edge) / (_SHADOW_SIGMA * width)) ** 2) * (gap > 0)
        drawn *= 1 - _SHADOW * amount * shadow[..., None]
        target[y0:y1, x0:x1] = np.clip(np.round(drawn), 0, 255)

    def _box(self, image: Image) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Corners x, y of the rectangle that a blink changes, within the image, px."""
        height, width = image.shape[:2]
        half = self._line.width_px * np.array([0.6, _REACH + 0.3])
        middle = self._line.corner + self._line.across * self._line.width_px / 2
        low = np.floor(np.clip(middle - half, 0, [width - 2, height - 2])).astype(np.int64)
        high = np.ceil(np.clip(middle + half, low + 2, [width, height])).astype(np.int64)
        return low, high

    def _sample_below(self, image: Image, x: Floats, y: Floats, offset: Floats) -> Floats:
        """The image (h, w, 3) at positions `offset` px further down than x, y, each (h, w)."""
        columns, rows = x + offset * self._line.down[0], y + offset * self._line.down[1]
        positions = (columns.astype(np.float32), rows.astype(np.float32))
        sampled = cv2.remap(image, *positions, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(sampled, np.float64)
