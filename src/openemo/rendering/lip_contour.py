"""Finds the edges of the lips in a photo, and the gap between them.

Landmarks place the inner edges of the lips a few pixels off, and mark a gap where full lips are closed. If
the flow opened the mouth there, a strip of one lip would move with the other lip or with the teeth.

Shapes: K columns along the mouth, T rows across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS
from openemo.grids import centre_array
from openemo.rendering.corner_line import CornerLine, piecewise_linear

__all__ = ["LipContour", "find_lip_contour", "find_lip_edges"]

Bools = NDArray[np.bool_]

_SAMPLES: Final = 64  # columns along the mouth, and rows across it
# Lengths in widths of the mouth.
_REACH: Final = 0.22  # searched above and below the middle between the landmarks
_SURE_LIP: Final = 0.035  # strip at each lip's outer edge that is certainly lip
_LANDMARK_ERROR: Final = 0.06  # how far off landmarks may be
_BLUR_SIGMA: Final = 0.012
_HALF_CUT: Final = 0.006  # half of the strip that opens where lips are closed
_LIP_SHADE: Final = (0.008, 0.022)  # height of the shaded edge of the upper and of the lower lip
_HOLD_REACH: Final = 0.25  # beyond the corners, above and below, the hold of the corners fades over this
# Shares of the width, from each corner inwards.
_CORNER_FADE: Final = 0.08  # within this the positions fade to those of the landmarks
_CURVE_FADE: Final = 0.15  # within this the gap fades to the landmarks' curves
# Within the first the lips part along a sine to this power, nearly to a point: a blunt end leaves a stub of
# the line between the lips beside it.
_CORNER_HOLD, _CORNER_SHAPE = 0.3, 0.85
# A colour that is more standard deviations than this away from both lips is no lip.
_MAX_DEVIATION: Final = 2.0
_MIN_GAP_SHARE: Final = 0.5  # of the gap between landmarks that must be no lip; else the lips are closed
_COLOUR_NOISE: Final = 3.0  # in units of CIE Lab
# Of `find_lip_edges`: how far it goes from the landmarks, in widths, and over how many columns it is smooth.
_EDGE_REACH, _EDGE_COLUMNS = 0.04, 9


@dataclass(frozen=True, slots=True)
class LipContour:
    """Curves along a mouth, (K,) px below the line between its corners.

    Attributes:
        line: between the corners.
        s: (K,) position of each column from corner to corner, 0 to 1.
        gap_top, gap_bottom: edges of what is visible between the lips; equal where the lips are closed.
        inner_top, inner_bottom: inner edges of the lips according to the landmarks.
        outer_top, outer_bottom: outer edges of the lips.
    """

    line: CornerLine
    s: Floats
    gap_top: Floats
    gap_bottom: Floats
    inner_top: Floats
    inner_bottom: Floats
    outer_top: Floats
    outer_bottom: Floats

    @property
    def contour_px(self) -> Floats:
        """(2K, 2) px: around the visible gap, from corner to corner along the lower lip and back."""
        lower, upper = (self.line.to_pixels(self.s, t) for t in (self.gap_bottom, self.gap_top))
        return np.concatenate([lower, upper[::-1]])

    def landmark_positions(self, points_px: Floats) -> Floats:
        """(..., 2) px: the same part of the lips according to the landmarks, for points (..., 2).

        A flow made from landmarks must be read there.
        """
        s, t = self.line.to_line(points_px)
        curves = (
            self.outer_top,
            self.gap_top,
            self.gap_bottom,
            self.outer_bottom,
            self.inner_top,
            self.inner_bottom,
        )
        outer_top, gap_top, gap_bottom, outer_bottom, inner_top, inner_bottom = (
            np.interp(s, self.s, curve) for curve in curves
        )
        half_cut = _HALF_CUT * self.line.width_px
        source = piecewise_linear(
            t,
            (outer_top, gap_top - half_cut, gap_bottom + half_cut, outer_bottom),
            (outer_top, inner_top, inner_bottom, outer_bottom),
        )
        fade = np.clip(np.minimum(s, 1 - s) / _CORNER_FADE, 0, 1)
        return np.asarray(points_px + ((source - t) * fade)[..., None] * self.line.down)

    def mouth_line_positions(self, points_px: Floats) -> tuple[Floats, Floats]:
        """Positions (..., 2), px, on the line between the lips, by the landmarks, below or above the points
        (..., 2); and how much the lips hold together at these points, (...) in [0, 1]."""
        s, t = self.line.to_line(points_px)
        middle = np.interp(s, self.s, (self.inner_top + self.inner_bottom) / 2)
        inward = np.clip(np.minimum(s, 1 - s) / _CORNER_HOLD, 0, 1)
        outward = np.clip(1 + np.minimum(s, 1 - s) / _HOLD_REACH, 0, 1)
        near = np.clip(2 - np.abs(t - middle) / (_HOLD_REACH * self.line.width_px), 0, 1)
        hold = (1 - np.sin(np.pi / 2 * inward) ** _CORNER_SHAPE) * outward * near
        return points_px + (middle - t)[..., None] * self.line.down, np.asarray(hold)


def find_lip_contour(image: Image, points_px: Floats) -> LipContour:
    """Finds the visible gap near the landmarks by its colour; without a gap, the dark line between the lips.

    Args:
        image: (P, P, 3) uint8 RGB.
        points_px: (478, 2 or more) landmarks.
    """
    line, s, landmark_curves = _landmark_curves(points_px)
    gap_top, gap_bottom = _find_gap(image, line, s, landmark_curves)
    return LipContour(line, s, gap_top, gap_bottom, *landmark_curves)


def find_lip_edges(image: Image, points_px: Floats) -> tuple[Floats, Floats, Floats]:
    """Where the lips of an open mouth end, column by column: at the sides landmarks are a few pixels off.

    Gums count as lips.

    Args:
        image: (P, P, 3) uint8 RGB. points_px: (478, 2 or more) landmarks.

    Returns:
        s (K,) from corner to corner; how much further down than the landmarks the edge of the upper and that
        of the lower lip are, (K,) each, px.
    """
    line, s, landmark_curves = _landmark_curves(points_px)
    inner_top, inner_bottom, outer_top, outer_bottom = landmark_curves
    width, reach_px = line.width_px, _EDGE_REACH * line.width_px
    t = (inner_top + inner_bottom) / 2 + np.linspace(-_REACH, _REACH, _SAMPLES)[:, None] * width
    colours = _sample_lab(image, line.to_pixels(np.broadcast_to(s, t.shape), t), _BLUR_SIGMA * width)
    sure_px = _SURE_LIP * width
    lips = (t > outer_top) & (t < inner_top - sure_px), (t < outer_bottom) & (t > inner_bottom + sure_px)
    between = (t > inner_top - reach_px) & (t < inner_bottom + reach_px)
    edges = _region_edges(_differs_from_lips(colours, *lips) & between, t, np.full(len(s), np.nan))
    fade = np.clip(np.minimum(s, 1 - s) / _CORNER_FADE, 0, 1)
    shifts = (
        fade * _even(np.clip(np.nan_to_num(edge - curve), -reach_px, reach_px))
        for edge, curve in zip(edges, (inner_top, inner_bottom), strict=True)
    )
    return s, next(shifts), next(shifts)


def _landmark_curves(points_px: Floats) -> tuple[CornerLine, Floats, tuple[Floats, Floats, Floats, Floats]]:
    """The line between the corners, columns s (K,), and the lips' edges there: inner upper, inner lower,
    outer upper, outer lower."""
    inner, outer = (points_px[list(part), :2].astype(np.float64) for part in (INNER_LIPS, OUTER_LIPS))
    line = CornerLine.between(inner[0], inner[10])
    width, s = line.width_px, centre_array(_SAMPLES)
    upper_half = [0, *range(19, 9, -1)]
    inner_top, inner_bottom, outer_top, outer_bottom = (
        np.interp(s, *line.curve(part))
        for part in (inner[upper_half], inner[:11], outer[upper_half], outer[:11])
    )
    inner_bottom = np.maximum(inner_bottom, inner_top)
    outer_top = np.minimum(outer_top, inner_top - 2 * _SURE_LIP * width)
    outer_bottom = np.maximum(outer_bottom, inner_bottom + 2 * _SURE_LIP * width)
    return line, s, (inner_top, inner_bottom, outer_top, outer_bottom)


def _even(values_K: Floats) -> Floats:
    """Median, then mean, of some columns."""
    for combine in (np.median, np.mean):
        padded = np.pad(values_K, _EDGE_COLUMNS // 2, mode="edge")
        values_K = np.asarray(combine(np.lib.stride_tricks.sliding_window_view(padded, _EDGE_COLUMNS), -1))
    return values_K


def _find_gap(
    image: Image, line: CornerLine, s: Floats, landmark_curves: tuple[Floats, Floats, Floats, Floats]
) -> tuple[Floats, Floats]:
    """Upper and lower edge (K,) of the visible gap, px below the line; equal where the lips are closed."""
    inner_top, inner_bottom, outer_top, outer_bottom = landmark_curves
    width, sure_px = line.width_px, _SURE_LIP * line.width_px
    middle = (inner_top + inner_bottom) / 2
    t = middle + np.linspace(-_REACH, _REACH, _SAMPLES)[:, None] * width
    colours = _sample_lab(image, line.to_pixels(np.broadcast_to(s, t.shape), t), _BLUR_SIGMA * width)
    between = (t > outer_top + sure_px) & (t < outer_bottom - sure_px)
    error = np.maximum(np.maximum(inner_top - t, t - inner_bottom), 0) / (_LANDMARK_ERROR * width)
    # The line between the lips is preferred near the middle between the landmarks.
    cost = (
        0.1 * ((t - middle) / ((inner_bottom - inner_top) / 2 + _LANDMARK_ERROR * width)) ** 2
        + 0.4 * error**2
    )
    dark_rows = _dark_line(colours, cost + np.where(between, 0, 10))
    lip_line = t[dark_rows, np.arange(_SAMPLES)]

    lips = (t > outer_top) & (t < inner_top - sure_px), (t < outer_bottom) & (t > inner_bottom + sure_px)
    is_no_lip = _differs_from_lips(colours, *lips)
    marked = (t > inner_top) & (t < inner_bottom)
    if not marked.any() or is_no_lip[marked].mean() <= _MIN_GAP_SHARE:
        closed = middle + _smooth(lip_line - middle)
        return closed, closed
    top, bottom = _region_edges(is_no_lip & between & (error < 1), t, lip_line)
    # Gums and gaps between teeth look like lips, so the median over the columns counts. The edge of a lip
    # lies in the shade of the other lip, and looks like no lip.
    fade = np.clip(np.minimum(s, 1 - s) / _CURVE_FADE, 0, 1)
    top, bottom = (
        curve + (float(np.median((edge - curve)[fade == 1])) + shade * width) * fade
        for edge, curve, shade in ((top, inner_top, _LIP_SHADE[0]), (bottom, inner_bottom, -_LIP_SHADE[1]))
    )
    return top, np.maximum(top, bottom)


def _sample_lab(image: Image, positions_TK2: Floats, blur_px: float) -> Floats:
    """(T, K, 3) CIE Lab colours at positions of the image, px."""
    blurred = cv2.GaussianBlur(image, (0, 0), max(blur_px, 0.5)).astype(np.float32) / 255
    # For landmarks a whole number is the edge of a pixel, for OpenCV its centre.
    x, y = np.moveaxis(positions_TK2.astype(np.float32) - 0.5, -1, 0)
    sampled = cv2.remap(blurred, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(sampled, cv2.COLOR_RGB2LAB), np.float64)


def _dark_line(colours_TK3: Floats, cost_TK: Floats) -> NDArray[np.int64]:
    """(K,) row in each column of a dark line from corner to corner; a cost makes a row less likely."""
    # Relative to each column, because a shadow on half of the face is no line.
    lightness = colours_TK3[..., 0] - np.median(colours_TK3[..., 0], 0)
    return _cheapest_path(lightness / max(float(np.percentile(np.abs(lightness), 90)), 1.0) + cost_TK)


def _differs_from_lips(colours_TK3: Floats, upper_TK: Bools, lower_TK: Bools) -> Bools:
    """(T, K): True where the colour is that of neither lip; the masks say where the lips are for certain."""
    deviation = np.full(colours_TK3.shape[:2], np.inf)
    lips = [colours_TK3[mask] for mask in (upper_TK, lower_TK) if mask.any()]
    for lip in lips:
        spread = np.sqrt(lip.var(0) + _COLOUR_NOISE**2)
        deviation = np.minimum(deviation, np.linalg.norm((colours_TK3 - np.median(lip, 0)) / spread, axis=-1))
    return np.asarray(deviation > _MAX_DEVIATION) if lips else np.zeros(deviation.shape, np.bool_)


def _region_edges(mask_TK: Bools, t_TK: Floats, default_K: Floats) -> tuple[Floats, Floats]:
    """First and last t (K,) of the largest region in each column; `default_K` for columns without it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask_TK.astype(np.uint8))
    if len(stats) == 1:
        return default_K, default_K
    region = labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    any_K = region.any(0)
    columns = np.arange(region.shape[1])
    first, last = region.argmax(0), len(region) - 1 - region[::-1].argmax(0)
    return (
        np.where(any_K, t_TK[first, columns], default_K),
        np.where(any_K, t_TK[last, columns], default_K),
    )


def _smooth(values_K: Floats) -> Floats:
    """Median over 11 columns, which removes outliers, then mean over 5."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values_K, 7, mode="edge"), 11)
    return np.asarray(np.convolve(np.median(windows, -1), np.full(5, 0.2), "valid"))


def _cheapest_path(cost_TK: Floats) -> NDArray[np.int64]:
    """(K,) row of each column: the path of least cost that changes by at most one row per column."""
    rows, columns = cost_TK.shape
    total, previous = cost_TK[:, 0].copy(), np.zeros((columns, rows), np.int64)
    for column in range(1, columns):
        padded = np.pad(total, 1, constant_values=np.inf)
        neighbours = np.stack([padded[i : i + rows] for i in range(3)])
        choice = neighbours.argmin(0)
        previous[column] = np.arange(rows) + choice - 1
        total = neighbours[choice, np.arange(rows)] + cost_TK[:, column]
    path = np.empty(columns, np.int64)
    path[-1] = total.argmin()
    for column in range(columns - 1, 0, -1):
        path[column - 1] = previous[column, path[column]]
    return path
