"""The eyeball between the lids, looking elsewhere: the iris moves as a disc, and the white gives way."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.rendering.eye_fields import Field, smoothstep
from openemo.rendering.eye_motion import EyeMotion
from openemo.rendering.eye_shape import EyeShape

__all__ = ["Eyeball"]

_DISC: Final = 1.12  # rigid radius over that of the iris: its soft rim moves with it
_MIN_WHITE: Final = 0.05  # least width of the white beside the iris, in widths of the eye
_CATCH_LIGHT_SHARE: Final = 0.55  # of the iris' motion: the cornea turns, the lamp does not
_CATCH_LIGHT: Final = 0.35  # size of the largest one, in radii of the iris
_CATCH_LIGHT_LEVELS: Final = 20.0  # brighter than the iris' light parts by so much it is all of it
_BINS: Final = 12  # rings of the iris from which hidden parts take their colour
_INSIDE: Final = 0.04  # colours are learnt so far from the lids, in widths of the eye
_FILL_SIGMA: Final = 0.15  # of the mean of whites, in widths of the eye
_EDGE: Final = 0.03  # along the lids, where their make-up and lashes are, in widths of the eye
_IRIS_LIGHT: Final = 75.0  # percent of the iris that is darker than its own light parts


class Eyeball:
    """The eyeball of one portrait, also where the lids hide it.

    Args:
        shape: the eye.
        pixels: (h, w, 3) the box of the eye in the portrait.
    """

    def __init__(self, shape: EyeShape, pixels: NDArray[np.float32]) -> None:
        self._shape = shape
        catch_light = _catch_light(shape, pixels)
        self._matt = _completed(shape, pixels - catch_light)
        self._catch_light = catch_light if catch_light.any() else None
        middle = shape.iris_px
        s, t = shape.line.to_line(middle)
        self._iris = float(s), float(t)

    def looking(
        self, right_px: float, down_px: float, carried: EyeMotion | None = None
    ) -> NDArray[np.float32]:
        """(h, w, 3) the eyeball with its iris moved by so many px; defined in the whole box.

        Args:
            carried: how a warp will stretch the eye afterwards, which is made up for here.
        """
        share = self._share(right_px, down_px, carried)
        right, down = -right_px * share, -down_px * share
        if carried is not None:
            right, down = right + carried.right_px, down + carried.down_px
        drawn = self._shape.shifted(self._matt, right, down)
        if self._catch_light is not None:
            moved = (_CATCH_LIGHT_SHARE * right, _CATCH_LIGHT_SHARE * down)
            drawn += self._shape.shifted(self._catch_light, *moved)
        return drawn

    def _share(self, right_px: float, down_px: float, carried: EyeMotion | None) -> Field:
        """How much of the iris' motion each pixel of the result makes: 1 within it, 0 at the corners."""
        shape, line = self._shape, self._shape.line
        at_s, at_t = shape.s, shape.t
        if carried is not None:
            over, below = (carried.along(axis) for axis in (line.across, line.down))
            at_s, at_t = at_s + over / np.float32(line.width_px), at_t + below
        moved = np.array([right_px, down_px])
        s = self._iris[0] + float(moved @ line.across) / shape.width_px
        t = self._iris[1] + float(moved @ line.down)
        radius = _DISC * shape.iris_radius_px
        half = np.sqrt(np.maximum(radius**2 - (at_t - np.float32(t)) ** 2, 0)) / shape.width_px
        offset = at_s - np.float32(s)
        beside = np.abs(offset) - half
        room = np.where(offset < 0, s, 1 - s) - half
        return np.asarray(np.clip(1 - beside / np.maximum(room, _MIN_WHITE), 0, 1), np.float32)


def _from_iris(shape: EyeShape) -> Field:
    """Distance from the middle of the iris, in its radii."""
    return np.asarray(
        np.hypot(shape.x - shape.iris_px[0], shape.y - shape.iris_px[1]) / shape.iris_radius_px, np.float32
    )


def _catch_light(shape: EyeShape, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What lamps and windows add to the iris."""
    side = max(3, round(_CATCH_LIGHT * 2 * shape.iris_radius_px) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(pixels, cv2.MORPH_OPEN, kernel)
    # A light iris around a dark pupil is no lamp.
    iris = pixels[_from_iris(shape) < 1]
    typical = np.percentile(iris, _IRIS_LIGHT, axis=0) if len(iris) else np.zeros(3)
    light = np.maximum(pixels - np.maximum(opened, typical.astype(np.float32)), 0)
    strength = np.clip(light.min(-1) / _CATCH_LIGHT_LEVELS, 0, 1)
    # The white around the iris is bright, too.
    within = 1 - smoothstep(_from_iris(shape), 0.6, 0.8)
    within = within * ((shape.t > shape.upper) & (shape.t < shape.lower))
    return np.asarray(light * (strength * within)[..., None], np.float32)


def _completed(shape: EyeShape, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The eyeball with what the lids hide: rings of the iris' own colours, white beside it."""
    radii, margin = _from_iris(shape), _INSIDE * shape.width_px
    margins = np.minimum(margin, 0.3 * shape.gap)
    seen = (shape.t > shape.upper + margins) & (shape.t < shape.lower - margins) & (shape.gap > 0)
    if not seen.any():
        return pixels
    white = (seen & (radii > _DISC)).astype(np.float32)
    hidden = _spread(pixels, white if white.any() else seen.astype(np.float32), _FILL_SIGMA * shape.width_px)
    hidden *= _edge_light(shape, pixels, hidden, radii)[..., None]
    rings = np.minimum((radii * _BINS / _DISC).astype(int), _BINS)
    iris = hidden.copy()
    last = None
    for ring in range(_BINS):
        member = seen & (rings == ring)
        if member.any():
            last = pixels[member].mean(0)
        if last is not None:
            iris[rings == ring] = last
    iris = cv2.GaussianBlur(iris, (0, 0), max(0.5, 0.5 * shape.iris_radius_px / _BINS))
    in_disc = np.clip((_DISC - radii) * shape.iris_radius_px + 0.5, 0, 1)[..., None]
    hidden += in_disc * (iris - hidden)
    is_open = np.clip(np.minimum(shape.t - shape.upper, shape.lower - shape.t) + 1, 0, 1) * (shape.gap > 0.5)
    return np.asarray(hidden + is_open[..., None] * (pixels - hidden), np.float32)


def _edge_light(
    shape: EyeShape, pixels: NDArray[np.float32], white: NDArray[np.float32], radii: Field
) -> Field:
    """(h, w) light that each lid's lashes and make-up leave along its edge. What comes out from under the lid
    is as dark: white there would be a pale rim."""
    ratio = np.minimum(pixels.mean(-1) / np.maximum(white.mean(-1), 1), 1)
    beside = (radii > _DISC) & (shape.openness > 0.3)
    is_upper = shape.t < (shape.upper + shape.lower) / 2
    light = np.ones_like(shape.t)
    for inwards, side in ((shape.t - shape.upper, is_upper), (shape.lower - shape.t, ~is_upper)):
        there = beside & (inwards > 0) & (inwards < _EDGE * shape.width_px)
        if there.any():
            light[side] = np.median(ratio[there])
    return light


def _spread(pixels: NDArray[np.float32], weight: Field, sigma_px: float) -> NDArray[np.float32]:
    """Weighted mean of the pixels around each one."""
    total = cv2.GaussianBlur(weight, (0, 0), sigma_px) + 1e-6
    mean = (pixels * weight[..., None]).sum((0, 1)) / weight.sum()
    summed = cv2.GaussianBlur(pixels * weight[..., None], (0, 0), sigma_px) + 1e-6 * mean
    return np.asarray(summed / total[..., None], np.float32)
