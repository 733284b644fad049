"""What of a mouth is lips and what shows between them, in a photo.

Landmarks place the lips' inner edges a few pixels off, and see a gap where full lips are closed. A mouth that
is torn open there takes a rim of one lip along with the other, or with the teeth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.face.geometry import INNER_LIPS, OUTER_LIPS
from openemo.face.lines import CornerLine, follow

__all__ = ["LipLine", "find_lip_line"]

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]

_SAMPLES: Final = 64  # places along the line, and across it
# Lengths in widths of the mouth.
_REACH: Final = 0.22  # beyond the middle between the landmarks
_LIP: Final = 0.035  # of either lip that belongs to it surely
_ASTRAY: Final = 0.06  # how far off landmarks are
_BLUR: Final = 0.012
_THIN: Final = 0.006  # half of what is torn where lips are closed
_ENDS: Final = 0.08  # towards the corners all is as the landmarks say
_CORNERS: Final = 0.15  # and beyond this the curves are even
_ROUND: Final = 0.2  # towards the corners lips part as the height of an ellipse
_BESIDE: Final = 0.25  # outwards they are held less and less over so much, up and down after as much
# Standard deviations from the colour of either lip: what is further is none. Of a gap between landmarks, the
# share that must be so: else the lips are closed.
_UNLIKE, _LEAST = 2.0, 0.5
_SHADE: Final = (0.008, 0.022)  # of the upper and lower lip's edge, in widths of the mouth
_NOISE: Final = 3.0  # of a colour, in units of CIE Lab


@dataclass(frozen=True, slots=True)
class LipLine:
    """Curves along a mouth, (K,) px below the line between its corners.

    Attributes:
        line: between the corners. s: (K,) from corner to corner, 0 to 1.
        upper, lower: what shows between the lips; the same where nothing does.
        marked_upper, marked_lower: inner edges of the lips by the landmarks.
        above, below: outer edges.
    """

    line: CornerLine
    s: Floats
    upper: Floats
    lower: Floats
    marked_upper: Floats
    marked_lower: Floats
    above: Floats
    below: Floats

    @property
    def contour(self) -> Floats:
        """(2K, 2) px: around what shows, from corner to corner along the lower lip and back."""
        there, back = self.line.places(self.s, self.lower), self.line.places(self.s, self.upper)[::-1]
        return np.concatenate([there, back])

    def sources(self, places: Floats) -> Floats:
        """(..., 2) px: where a flow that goes by the landmarks has what belongs to places (..., 2), px."""
        s, t = self.line.local(places)
        curves = (self.above, self.upper, self.lower, self.below, self.marked_upper, self.marked_lower)
        above, upper, lower, below, marked_upper, marked_lower = (np.interp(s, self.s, c) for c in curves)
        thin = _THIN * self.line.width_px
        source = follow(
            t, (above, upper - thin, lower + thin, below), (above, marked_upper, marked_lower, below)
        )
        fading = np.clip(np.minimum(s, 1 - s) / _ENDS, 0, 1)
        return np.asarray(places + ((source - t) * fading)[..., None] * self.line.down)

    def held(self, places: Floats) -> tuple[Floats, Floats]:
        """For places (..., 2), px: those between the lips, (..., 2), by the landmarks, and how much lips hold
        together there, (...) from 0 to 1."""
        s, t = self.line.local(places)
        middle = np.interp(s, self.s, (self.marked_upper + self.marked_lower) / 2)
        inward = np.clip(np.minimum(s, 1 - s) / _ROUND, 0, 1)
        outward = np.clip(1 + np.minimum(s, 1 - s) / _BESIDE, 0, 1)
        near = np.clip(2 - np.abs(t - middle) / (_BESIDE * self.line.width_px), 0, 1)
        share = (1 - np.sqrt(inward * (2 - inward))) * outward * near
        return places + (middle - t)[..., None] * self.line.down, np.asarray(share)


def find_lip_line(picture: Image, points_px: Floats) -> LipLine:
    """Looks near the landmarks for what is unlike lips, or, where nothing is, for the dark line between them.

    Args:
        picture: (P, P, 3). points_px: (478, 2 or more) landmarks, px.
    """
    inner, outer = (points_px[list(part), :2].astype(np.float64) for part in (INNER_LIPS, OUTER_LIPS))
    line = CornerLine.between(inner[0], inner[10])
    width, s = line.width_px, (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    upper_half = [0, *range(19, 9, -1)]
    upper, lower, above, below = (
        np.interp(s, *line.curve(part))
        for part in (inner[upper_half], inner[:11], outer[upper_half], outer[:11])
    )
    lower = np.maximum(lower, upper)
    above, below = np.minimum(above, upper - 2 * _LIP * width), np.maximum(below, lower + 2 * _LIP * width)

    middle = (upper + lower) / 2
    t = middle + np.linspace(-_REACH, _REACH, _SAMPLES)[:, None] * width
    colours = _colours(picture, line.places(np.broadcast_to(s, t.shape), t), _BLUR * width)
    between = (t > above + _LIP * width) & (t < below - _LIP * width)
    off = np.maximum(np.maximum(upper - t, t - lower), 0) / (_ASTRAY * width)
    # Rather in the middle between the landmarks.
    doubt = 0.1 * ((t - middle) / ((lower - upper) / 2 + _ASTRAY * width)) ** 2 + 0.4 * off**2
    dark = _darkest(colours, doubt + np.where(between, 0, 10))
    meet = t[dark, np.arange(_SAMPLES)]

    lips = (t > above) & (t < upper - _LIP * width), (t < below) & (t > lower + _LIP * width)
    unlike = _unlike_lips(colours, *lips)
    marked = (t > upper) & (t < lower)
    if marked.any() and unlike[marked].mean() > _LEAST:
        top, bottom = _runs(unlike & between & (off < 1), t, meet)
        # Gums and gaps between teeth look like lips, so only what most columns say counts. A lip's edge is
        # in the shade of the other, unlike itself.
        fading = np.clip(np.minimum(s, 1 - s) / _CORNERS, 0, 1)
        top, bottom = (
            mark + (float(np.median((edge - mark)[fading == 1])) + shade * width) * fading
            for edge, mark, shade in ((top, upper, _SHADE[0]), (bottom, lower, -_SHADE[1]))
        )
        bottom = np.maximum(top, bottom)
    else:
        top = bottom = middle + _smooth(meet - middle)
    return LipLine(line, s, top, bottom, upper, lower, above, below)


def _colours(picture: Image, places_TK2: Floats, blur_px: float) -> Floats:
    """(T, K, 3) in units of CIE Lab, at these places of the picture."""
    blurred = cv2.GaussianBlur(picture, (0, 0), max(blur_px, 0.5)).astype(np.float32) / 255
    # Whole numbers are edges of pixels to landmarks, and middles to OpenCV.
    x, y = np.moveaxis(places_TK2.astype(np.float32) - 0.5, -1, 0)
    seen = cv2.remap(blurred, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(seen, cv2.COLOR_RGB2LAB), np.float64)


def _darkest(colours_TK3: Floats, cost_TK: Floats) -> NDArray[np.int64]:
    """(K,) row of each column where a dark line runs from corner to corner; costs speak against rows."""
    light = colours_TK3[..., 0] - np.median(colours_TK3[..., 0], 0)  # shadow on half of the face is no line
    return _cheapest(light / max(float(np.percentile(np.abs(light), 90)), 1.0) + cost_TK)


def _unlike_lips(
    colours_TK3: Floats, upper_TK: NDArray[np.bool_], lower_TK: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(T, K): which places have the colour of neither lip."""
    distance = np.full(colours_TK3.shape[:2], np.inf)
    lips = [colours_TK3[where] for where in (upper_TK, lower_TK) if where.any()]
    for lip in lips:
        spread = np.sqrt(lip.var(0) + _NOISE**2)
        distance = np.minimum(distance, np.linalg.norm((colours_TK3 - np.median(lip, 0)) / spread, axis=-1))
    return np.asarray(distance > _UNLIKE) if lips else np.zeros(distance.shape, np.bool_)


def _runs(where_TK: NDArray[np.bool_], t_TK: Floats, otherwise_K: Floats) -> tuple[Floats, Floats]:
    """First and last t of each column in the largest region, or `otherwise` twice where it has none."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(where_TK.astype(np.uint8))
    if len(stats) == 1:
        return otherwise_K, otherwise_K
    region = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    any_K = region.any(0)
    columns = np.arange(region.shape[1])
    first, last = region.argmax(0), len(region) - 1 - region[::-1].argmax(0)
    return (
        np.where(any_K, t_TK[first, columns], otherwise_K),
        np.where(any_K, t_TK[last, columns], otherwise_K),
    )


def _smooth(values_K: Floats) -> Floats:
    """Without what only a few columns say, and without corners."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values_K, 7, mode="edge"), 11)
    return np.asarray(np.convolve(np.median(windows, -1), np.full(5, 0.2), "valid"))


def _cheapest(cost_TK: Floats) -> NDArray[np.int64]:
    """(K,) row of each column: of all ways that change by a row at most, the one of least cost."""
    rows, columns = cost_TK.shape
    total, back = cost_TK[:, 0].copy(), np.zeros((columns, rows), np.int64)
    for column in range(1, columns):
        padded = np.pad(total, 1, constant_values=np.inf)
        near = np.stack([padded[i : i + rows] for i in range(3)])
        choice = near.argmin(0)
        back[column] = np.arange(rows) + choice - 1
        total = near[choice, np.arange(rows)] + cost_TK[:, column]
    way = np.empty(columns, np.int64)
    way[-1] = total.argmin()
    for column in range(columns - 1, 0, -1):
        way[column - 1] = back[column, way[column]]
    return way
