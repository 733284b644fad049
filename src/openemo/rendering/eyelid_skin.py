"""The skin and the lashes of an upper lid, apart from each other.

A lid that closes shows skin that the open eye folds away. Its colour is that of the skin around the eye, its
grain that of the skin below; a stretched fold would be a smooth bright patch. Lashes are how much darker the
lid's edge is than this skin, so that they move with the edge and turn down without being stretched.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.rendering.eye_fields import Field, mix, shade, smoothstep
from openemo.rendering.eye_shape import EyeShape, place_on_box

__all__ = ["LidSkin"]

# Lengths in widths of the eye.
_READ_AROUND: Final = (0.1, 0.3, 0.1, 0.2)  # of the skin that is read left, above, right and below of the box
_SKIN_ABOVE, _SKIN_BELOW = 0.22, 0.25  # height of the skin above the crease and below the fold
_MARGIN, _LASH_MARGIN = 0.02, 0.05  # from the crease and fold, and from the lashes
_COLOUR_SIGMA: Final = 0.16
_GRAIN_SIGMAS: Final = (0.015, 0.05)  # of skin, and of prints
_GRAIN_FROM, _GRAIN_REACH = 0.3, 0.25  # below the line between the corners, and how far it goes
_LASHES: Final = 0.16  # their length
_LASHES_BESIDE: Final = 0.18  # how far they go beyond the corners
_LASH_LINE: Final = 0.12  # highest line of them
_LASH_THICKNESS: Final = 0.06  # of single ones, at most
_RIM: Final = (0.05, 0.12)  # below the lower lid's edge: nothing lighter than skin up to the first
_EDGE: Final = 0.05  # height of the edge at which their darkness is measured
# Shares and factors.
_ABOVE_SHARE: Final = 0.35  # of the skin above the crease in the lid's colour
_EVEN: Final = 0.4  # of the colour that is the same all over the lid
_DARKER: Final = 0.96  # a lid is in the shade of the brow
_OUTLIERS: Final = (0.8, 1.25)  # over the typical brightness: hair and rims, reflections
_TYPICAL: Final = 70  # percentile, since there is more hair and shade than reflections
_GRAIN_LIMIT, _PRINT_LIMIT = 0.05, 3.0  # of prints in standard deviations
_LINES: Final = 0.4  # of the fine lines of the skin below the eye
_PRINT: Final = (
    0.28,
    0.38,
)  # share of the fine texture in all of it: of photographs at most, of prints at least
_LASH_RATIO: Final = (0.12, 1.06)
_CORNERS: Final = 0.45  # of the darkness at the corners that is lashes; the rest is the shade of the fold

_SMALL_PX: Final = 40.0  # width of the eye at which colours are averaged


class LidSkin:
    """The parts of one upper lid, as fields of the eye's box.

    Args:
        shape: the eye.
        pixels: (h, w, 3) its box in the portrait.
        image: (Q, Q, 3) uint8 RGB, the whole portrait.
        rim: (h, w) 1 on rims of glasses.

    Attributes:
        colour: (h, w, 3) smooth colour of the shut lid.
        grain: (h, w) its fine texture, about 1.
        bare: (h, w, 3) the portrait without lashes and eyeball.
        lower: (h, w, 3) the portrait without the wet rim of the lower lid, which a shut lid hides.
        lashes: (h, w) share of light that the lashes leave, 1 where there are none.
        lash_darkness: share of light that they take at the edge, 0 to 1.
    """

    def __init__(
        self, shape: EyeShape, pixels: NDArray[np.float32], image: Image, rim: Field | None = None
    ) -> None:
        self.colour = _DARKER * _skin_colour(shape, image)
        self.grain = _grain(shape, image)
        self.lashes = _lashes(shape, pixels, self.colour)
        hidden = np.clip(shape.t - shape.upper + 0.5, 0, 1) * (shape.gap > 0)
        if rim is not None:
            self.lashes = np.asarray(self.lashes ** (1 - rim), np.float32)
            hidden = np.maximum(hidden, rim)
        self.bare = mix(_without(self.lashes, pixels, self.colour), shade(self.colour, self.grain), hidden)
        self.lower = _without_rim(shape, pixels, self.colour)
        height = (shape.upper - shape.t) / shape.width_px
        edge = (height > 0) & (height < _EDGE) & (shape.openness > 0.6)
        self.lash_darkness = float(1 - self.lashes[edge].mean()) if edge.any() else 0.0


def _without(lashes: Field, pixels: NDArray[np.float32], colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """The portrait's pixels without lashes, in the skin's hue where they hid it: dark pixels have none."""
    bare = shade(pixels, np.asarray(1 / lashes, np.float32))
    tinted = shade(colour, np.asarray(bare.mean(-1) / np.maximum(colour.mean(-1), 1), np.float32))
    return mix(bare, tinted, np.asarray(1 - lashes, np.float32))


def _without_rim(
    shape: EyeShape, pixels: NDArray[np.float32], colour: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The portrait's pixels, near the edge of the lower lid in the skin's hue and no lighter: landmarks miss
    the edge by a few pixels, so that the white of the eye may lie below."""
    below = (shape.t - shape.lower) / shape.width_px
    near = (1 - smoothstep(below, *_RIM)) * smoothstep(shape.openness, 0, 0.3)
    light = np.minimum(pixels.mean(-1) / np.maximum(colour.mean(-1), 1), 1)
    return mix(pixels, shade(colour, light), np.asarray(near, np.float32))


def _skin_colour(shape: EyeShape, image: Image) -> NDArray[np.float32]:
    """The colour that each pixel would have as a part of the lid."""
    width = shape.width_px
    (x0, y0), (height, breadth) = shape.corner_px, shape.s.shape
    left, above, right, below = (round(length * width) for length in _READ_AROUND)
    low_x, low_y = max(0, x0 - left), max(0, y0 - above)
    region = image[low_y : y0 + height + below, low_x : x0 + breadth + right]
    scale = min(1.0, _SMALL_PX / width)
    size = (max(2, round(region.shape[1] * scale)), max(2, round(region.shape[0] * scale)))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    per_pixel = np.array(size) / region.shape[1::-1]
    positions = np.stack(np.meshgrid(*map(np.arange, size)), -1)
    colour = _mixed_colour(shape, small, (positions + 0.5) / per_pixel + (low_x, low_y), scale)
    columns, rows = ((np.stack([shape.x, shape.y], -1) - (low_x, low_y)) * per_pixel - 0.5).transpose(2, 0, 1)
    to_box = (columns.astype(np.float32), rows.astype(np.float32))
    return np.asarray(cv2.remap(colour, *to_box, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _mixed_colour(
    shape: EyeShape, small: NDArray[np.float32], positions_px: Floats, scale: float
) -> NDArray[np.float32]:
    """The lid's colour at each pixel of a small picture of the eye, from the bare skin in it.

    Args:
        positions_px: of the small picture's pixels in the portrait.
        scale: of the small picture.
    """
    width = shape.width_px
    s, t = shape.line.to_line(positions_px)
    fields = (shape.upper, shape.lower, shape.crease, shape.below)
    upper, lower, crease, below = (place_on_box(shape, field, positions_px - 0.5) for field in fields)
    margin, near = _MARGIN * width, np.abs(s - 0.5) < 0.75
    above, platform, under = (
        _bare(small, part & near)
        for part in (
            (t < crease - margin) & (t > crease - _SKIN_ABOVE * width),
            (t > crease + margin) & (t < upper - _LASH_MARGIN * width),
            (t > below + margin) & (t < below + _SKIN_BELOW * width),
        )
    )
    colour = _mean_around(small, above + platform + under + np.float32(1e-4), _COLOUR_SIGMA * width * scale)
    lid = (t > crease) & (t < lower) & (np.abs(s - 0.5) < 0.4)
    if under.any() and lid.any():
        # The light on a shut lid is that on the skin below the eye rather than that in the shade of the brow.
        typical = small[under > 0].mean(0)
        if above.any():
            typical = typical ** (1 - _ABOVE_SHARE) * small[above > 0].mean(0) ** _ABOVE_SHARE
        colour *= typical / np.maximum(colour[lid].mean(0), 1)
        colour += _EVEN * (typical - colour)
    return colour


def _mean_around(pixels: NDArray[np.float32], weight: Field, sigma_px: float) -> NDArray[np.float32]:
    mean = cv2.GaussianBlur(pixels * weight[..., None], (0, 0), sigma_px)
    return np.asarray(mean / cv2.GaussianBlur(weight, (0, 0), sigma_px)[..., None], np.float32)


def _bare(pixels: NDArray[np.float32], part: NDArray[np.bool_]) -> Field:
    """1 where a part of the skin has its typical brightness, 0 elsewhere."""
    brightness = pixels.mean(-1)
    if not part.any():
        return np.zeros_like(brightness)
    ratio = brightness / max(float(np.percentile(brightness[part], _TYPICAL)), 1.0)
    return np.asarray(part & (ratio > _OUTLIERS[0]) & (ratio < _OUTLIERS[1]), np.float32)


def _grain(shape: EyeShape, image: Image) -> Field:
    """Fine texture of the skin below the eye, mirrored up and down into the lid."""
    width = shape.width_px
    reach = _GRAIN_REACH * width
    distance = np.abs((shape.t + 4 * reach) % (2 * reach) - reach)
    offset = _GRAIN_FROM * width + distance - shape.t
    dx, dy = shape.line.down
    columns = (shape.x - 0.5 + dx * offset).astype(np.float32)
    rows = (shape.y - 0.5 + dy * offset).astype(np.float32)
    x0, y0 = (max(0, int(axis.min()) - 2) for axis in (columns, rows))
    x1, y1 = int(columns.max()) + 3, int(rows.max()) + 3
    skin = image[y0:y1, x0:x1].astype(np.float32).mean(-1)
    if min(skin.shape) < 2:
        return np.ones_like(shape.s)
    fine, coarse = (skin / np.maximum(cv2.GaussianBlur(skin, (0, 0), s * width), 1) for s in _GRAIN_SIGMAS)
    # The grain of a print is coarser than pores. Where most texture is fine, no folds or rims are in it.
    spread = _spread(coarse)
    printed = float(smoothstep(np.array(_spread(fine) / max(spread, 1e-6)), *_PRINT))
    limit = _GRAIN_LIMIT + printed * max(_PRINT_LIMIT * spread - _GRAIN_LIMIT, 0)
    ratio = np.clip(fine + max(printed, _LINES) * (coarse - fine), 1 - limit, 1 + limit)
    return np.asarray(
        cv2.remap(ratio, columns - x0, rows - y0, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32
    )


def _spread(values: Field) -> float:
    """Their standard deviation, without regard to the outer ones."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _lashes(shape: EyeShape, pixels: NDArray[np.float32], colour: NDArray[np.float32]) -> Field:
    """How much darker than skin the edge of the lid is, and single lashes above it."""
    width = shape.width_px
    brightness = pixels.mean(-1)
    ratio = np.clip(brightness / np.maximum(colour.mean(-1), 1), *_LASH_RATIO)
    height = shape.upper - shape.t
    lowest = _LASH_LINE * width
    platform = np.minimum(shape.upper - shape.crease, lowest)
    platform = np.maximum(platform, lowest * (1 - smoothstep(shape.openness, 0.1, 0.7)))
    line = 1 - smoothstep(height / platform, 0.35, 0.85)
    # Lashes are thin along the line, the crease is not.
    side = max(3, round(_LASH_THICKNESS * width) | 1)
    closed = cv2.morphologyEx(brightness, cv2.MORPH_CLOSE, np.ones((1, side), np.uint8))
    single = np.clip(brightness / np.maximum(closed, 1), *_LASH_RATIO)
    reach = 1 - smoothstep(height / width, 0.6 * _LASHES, _LASHES)
    where = smoothstep(0.5 + _LASHES_BESIDE - np.abs(shape.s - 0.5), 0, 0.1) * np.clip(height + 0.5, 0, 1)
    weight = line * where * (_CORNERS + (1 - _CORNERS) * smoothstep(shape.openness, 0.05, 0.5))
    return np.asarray(ratio**weight * single ** (reach * where * (1 - weight)), np.float32)
