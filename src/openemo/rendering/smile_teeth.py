"""The row of upper teeth that a smile shows, in the form in which teeth are drawn.

A smile that was taken out of a portrait takes the person's own teeth along. They are kept from the photo, and
what the lips cover there is completed by the model's.

Shapes: h x w are `TEETH_SIZE`.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import INNER_LIPS
from openemo.face.masks import fill_contour
from openemo.face.similarity import fit_similarity
from openemo.rendering.mouth_colours import estimate_white_point
from openemo.rendering.mouth_interior import SMILE_WIDTH_CELLS, TEETH_ARCH, TEETH_EDGE_ROW, TEETH_SIZE

__all__ = ["complete_teeth", "extend_teeth", "find_smile_teeth", "read_own_teeth", "resample"]

_LEAST_GAP: Final = 0.06  # between the lips, over the mouth's width
_LEAST_MOUTH_PX: Final = 30.0
_MIDDLE: Final = (TEETH_SIZE[1] - 1) / 2
# Lengths in cells of the picture.
_LEAST_HEIGHT: Final = 16.0  # of a tooth
_REACH: Final = 48  # of the arch on both sides of the middle
_SOFT: Final = 2.5  # width of the biting edge
_THIN, _EDGE_SHADE = 4.0, 0.85  # enamel is thin at the edge and dark behind it
_FEW: Final = 0.3  # share of people
_TOP, _BOTTOM = 15, 4  # above the edge; between them the colours are those of teeth
_DARKEST: Final = 0.6  # of a tooth's colour, behind the upper lip
_BLEND: Final = 8.0  # from the last own tooth to the model's
_LEAST_COLUMNS: Final = 60  # of own teeth
_UNEVEN, _EVEN_COLUMNS = 4.0, 7  # how far a biting edge may be off the arch; over which it is smooth
_DARKEST_GAP: Final = 0.6  # over the brightness of the teeth
_LEAST_SHOWN, _RIM = 6.0, 2.0  # height of what is shown; at both of its ends it is mixed with gums and lips
_HIDDEN, _HIDDEN_BLUR = 40.0, 2.5  # behind the lip: rows to the darkest, blur across
_LOOSE: Final = 3  # below the arch no upper tooth ends
_LINE_SEARCH, _LINE = 24, 0.9  # rows above the edge; brightness of the line between both rows of teeth
_OWN_TINT: Final = 0.2  # flash makes teeth bluer than they are inside a mouth
_SAME_ROW: Final = 0.65  # brightness of a tooth at the side, over those in the middle


def find_smile_teeth(picture: Image, points_px: Floats) -> Floats | None:
    """(h, w, 4) colour over the white point and opacity, the biting edge on `TEETH_ARCH`; None if teeth are
    not well seen.

    Args:
        picture: (height, width, 3) uint8 RGB. points_px: (478, 2 or more) landmarks, at any roll.
    """
    points = np.asarray(points_px[:, :2], np.float64)
    lips = points[list(INNER_LIPS)]
    width = float(np.linalg.norm(lips[10] - lips[0]))
    if width < _LEAST_MOUTH_PX or float(np.linalg.norm(lips[15] - lips[5])) < _LEAST_GAP * width:
        return None
    corners = _MIDDLE + SMILE_WIDTH_CELLS / 2 * np.array([-1.0, 1.0])
    fit = fit_similarity(lips[[0, 10]], np.column_stack([corners, [0.0, 0.0]]))
    shift = fit.shift + np.array([0.0, TEETH_EDGE_ROW - fit(lips[5])[1]])
    size = TEETH_SIZE[::-1]
    matrix = np.column_stack([fit.matrix, shift])
    patch = cv2.warpAffine(picture.astype(np.float32), matrix, size, flags=cv2.INTER_CUBIC)
    colour = np.asarray(patch / estimate_white_point(picture, points), np.float64).clip(0)
    inside = cv2.erode(fill_contour(lips @ fit.matrix.T + shift, size), np.ones((5, 5))) / 255
    opacity = inside * _teeth_mask(colour)
    arch = _arch(opacity)
    if arch is None:
        return None
    away = np.arange(size[0]) - _MIDDLE
    rises = np.polyval(arch, away) - (TEETH_EDGE_ROW - TEETH_ARCH * away**2)
    return _shift_columns(np.dstack([colour, opacity]), rises)


def read_own_teeth(picture: Image, points_px: Floats) -> NDArray[np.float32] | None:
    """(4, h, w) as `complete_teeth` takes it, from a photo of a smile; None if it shows no row of teeth.

    Args:
        picture, points_px: as in `find_smile_teeth`.
    """
    found = find_smile_teeth(picture, points_px)
    if found is None:
        return None
    found = _shift_columns(found, np.full(TEETH_SIZE[1], -_above_lower_teeth(found)))
    colour, opacity = found[..., :3], found[..., 3].clip(0, 1)
    away, rows = np.arange(TEETH_SIZE[1]) - _MIDDLE, np.arange(TEETH_SIZE[0])[:, None]
    edge = TEETH_EDGE_ROW - TEETH_ARCH * away**2
    opacity = opacity * (rows < edge + _LOOSE) * _is_tooth(colour, opacity)
    seen = opacity.max(0) > _FEW
    if seen.sum() < _LEAST_COLUMNS:
        return None
    row = _continued(colour, opacity, edge)
    return np.asarray(row.transpose(2, 0, 1), np.float32)


def _continued(colour: Floats, opacity: Floats, arch: Floats) -> Floats:
    """(h, w, 4): the photo's own pixels with the lines between teeth, and a smooth biting edge.

    Behind the upper lip each tooth goes on in its colour.

    Args:
        arch: (w,) rows where the edge would usually be. An edge that is further off is no edge.
    """
    rows = np.arange(len(opacity), dtype=np.float64)[:, None]
    seen = opacity > 0.5
    top = np.where(seen.any(0), seen.argmax(0), np.nan)
    bottom = np.where(seen.any(0), len(seen) - seen[::-1].argmax(0), np.nan)
    known = np.flatnonzero(np.isfinite(top))
    first, edge = (
        _even(np.interp(np.arange(len(arch)), known, ends[known] - arch[known])) + arch
        for ends in (top, bottom)
    )
    edge = np.clip(edge, arch - _UNEVEN, arch + _UNEVEN)
    first = np.clip(first, None, edge - _LEAST_SHOWN) + _RIM
    x, y = (
        np.broadcast_to(np.arange(len(arch), dtype=np.float64), opacity.shape),
        np.clip(rows, first, edge - _RIM).astype(np.float64),
    )
    shown = resample(colour, x, y)
    # Gaps are lines; what is darker is the inside of the mouth beside or below a tooth.
    light = shown.mean(-1, keepdims=True)
    usual = np.median(light[(rows > first) & (rows < edge) & seen.any(0)])
    shown *= np.maximum(1, _DARKEST_GAP * usual / np.maximum(light, 1e-3))
    # Beyond what is seen single columns would be stripes.
    hidden = cv2.GaussianBlur(shown, (0, 0), _HIDDEN_BLUR, sigmaY=0.1)
    behind = np.clip((first - rows) / _RIM, 0, 1)[..., None]
    result = shown + behind * (hidden - shown)
    result *= np.interp(rows - first, [-_HIDDEN, 0], [_DARKEST, 1])[..., None]
    result *= np.interp(edge - rows, [0, _THIN], [_EDGE_SHADE, 1])[..., None]
    inside = np.clip((edge - rows) / _SOFT + 0.5, 0, 1) * (seen.any(0) & (opacity.max(0) > _FEW))
    return np.concatenate([result, inside[..., None]], -1)


def _even(values: Floats) -> Floats:
    """Median, then mean, of some columns."""
    for combine in (np.median, np.mean):
        padded = np.pad(values, _EVEN_COLUMNS // 2, mode="edge")
        values = np.asarray(combine(np.lib.stride_tricks.sliding_window_view(padded, _EVEN_COLUMNS), -1))
    return values


def _above_lower_teeth(row: Floats) -> float:
    """Rows from the dark line between both rows of teeth to the edge that was found; 0 without such a line.

    In a laugh the lower teeth stand directly below the upper ones, and are taken for a part of them.
    """
    away = np.arange(TEETH_SIZE[1]) - _MIDDLE
    near = np.flatnonzero(np.abs(away) < _REACH * 0.75)
    edge = np.round(TEETH_EDGE_ROW - TEETH_ARCH * away**2).astype(np.int64)
    rows = edge[near] + np.arange(-_LINE_SEARCH, 1)[:, None]
    brightness = row[rows, near, :3].mean(-1)
    start = _LINE_SEARCH // 3
    dark = brightness[start:] < _LINE * np.median(brightness[:start], 0)
    ends = np.where(dark.any(0), start + dark.argmax(0), _LINE_SEARCH)
    rise = _LINE_SEARCH - float(np.median(ends))
    return rise if rise > _LOOSE else 0.0


def _is_tooth(colour: Floats, opacity: Floats) -> NDArray[np.bool_]:
    """(w,): the columns around the middle that are as bright as a tooth, up to the first that is not."""
    weight = np.maximum(opacity.sum(0), 1e-3)
    brightness = cv2.blur(((colour.mean(-1) * opacity).sum(0) / weight)[None], (5, 1))[0]
    away = np.abs(np.arange(len(brightness)) - _MIDDLE)
    dark = (brightness < _SAME_ROW * np.median(brightness[away < _REACH / 2])) | (opacity.max(0) < _FEW)
    first, last = (
        min(away[dark & side & (away > _REACH / 4)], default=np.inf)
        for side in (np.arange(len(dark)) < _MIDDLE, np.arange(len(dark)) > _MIDDLE)
    )
    return np.asarray(np.where(np.arange(len(dark)) < _MIDDLE, away < first, away < last))


def complete_teeth(own: NDArray[np.float32], teeth: NDArray[np.float32]) -> NDArray[np.float32]:
    """(4, h, w): own teeth as far to the sides as they were seen, then others in their colour.

    Args:
        own, teeth: (4, h, w), colour over the white point and opacity.
    """
    seen = own[3].max(0)
    columns = np.flatnonzero(seen > 0.5)
    if not len(columns) or not teeth[3].any():
        return own
    from_end = np.minimum(np.arange(own.shape[2]) - columns[0], columns[-1] - np.arange(own.shape[2]))
    share = np.clip(from_end / _BLEND, 0, 1)
    both = (own[3] > 0.5) & (teeth[3] > 0.5) & (share == 1)
    if not both.any():
        return own
    own_colour, colour = (np.maximum(np.median(each[:3, both], 1), 1e-3) for each in (own, teeth))
    tint = (colour / colour.mean() / own_colour * own_colour.mean()) ** (1 - _OWN_TINT)
    own = np.concatenate([own[:3] * tint[:, None, None], own[3:]])
    gain = own_colour * tint / colour
    others = np.concatenate([teeth[:3] * gain[:, None, None], teeth[3:]])
    return np.asarray(others + share * (own - others), np.float32)


def _teeth_mask(colour: Floats) -> Floats:
    """(h, w) in [0, 1]: bright and not red, so no gums, lips or gaps."""
    brightness = colour.mean(-1)
    red = (colour[..., 0] - colour[..., 1:].mean(-1)) / np.maximum(brightness, 1e-3)
    return np.asarray(np.clip((brightness - 0.55) / 0.3, 0, 1) * np.clip((0.28 - red) / 0.12, 0, 1))


def _edge(opacity: Floats) -> tuple[Floats, Floats]:
    """(w,) row of the biting edge, and height of the tooth above it in cells; 0 without a tooth."""
    edge, height = np.zeros(opacity.shape[1]), np.zeros(opacity.shape[1])
    for x, column in enumerate(opacity.T):
        bounds = np.flatnonzero(np.diff(np.concatenate([[0], (column > 0.5).astype(np.int8), [0]])))
        if not len(bounds):
            continue
        # The longest run; below a gap are the lower teeth.
        first, last = bounds.reshape(-1, 2)[np.diff(bounds.reshape(-1, 2))[:, 0].argmax()]
        height[x] = last - first
        inside, outside = column[last - 1], column[last] if last < len(column) else 0.0
        edge[x] = last - 1 + (inside - 0.5) / max(float(inside - outside), 1e-6)
    return edge, height


def _arch(opacity: Floats) -> Floats | None:
    """Parabola (3,) of the biting edge over the distance from the middle; None if too little is seen."""
    edge, height = _edge(opacity)
    away = np.arange(len(edge)) - _MIDDLE
    seen = (height > _LEAST_HEIGHT / 2) & (np.abs(away) < _REACH)
    if seen.sum() < 1.5 * _REACH or np.median(height[np.abs(away) < _REACH / 2]) < _LEAST_HEIGHT:
        return None
    weight = seen.astype(np.float64)
    for _ in range(6):  # least absolute distances, so that notches and lips do not count
        arch = np.polyfit(away, edge, 2, w=np.sqrt(weight))
        weight = seen / np.maximum(np.abs(edge - np.polyval(arch, away)), 0.5)
    return np.asarray(arch)


def _shift_columns(picture: Floats, rows: Floats) -> Floats:
    """The picture (h, w, C), each column taken from `rows` further down."""
    y, x = (np.asarray(part, np.float64) for part in np.indices(picture.shape[:2]))
    return resample(picture, x, y + rows)


def resample(picture: Floats, x: Floats, y: Floats) -> Floats:
    """The picture (h, w, C) at columns x and rows y, (h, w) each; bicubic."""
    columns, rows = x.astype(np.float32), y.astype(np.float32)
    return np.asarray(cv2.remap(picture.astype(np.float32), columns, rows, cv2.INTER_CUBIC), np.float64)


def extend_teeth(colour: Floats, share: Floats, *, top: float | Floats = _TOP) -> Floats:
    """(h, w, 4), each tooth continued upwards, because a lip may rise further than in a smile.

    Args:
        colour: (h, w, 3), known where there are teeth. share: (h, w), of teeth there: opacity, or of people.
        top: rows above the edge, of each column, to which the colours are those of teeth.
    """
    height, width = share.shape
    colour, rows = colour.copy(), np.arange(height)
    away = np.arange(width) - _MIDDLE
    arch = TEETH_EDGE_ROW - TEETH_ARCH * away**2
    opacity, tops = np.zeros_like(share), np.broadcast_to(top, width)
    for x in range(width):
        most = float(share[:, x].max())
        if most < _FEW:
            continue
        row = int(share[:, x].argmax())
        edge = row + float(np.interp(-most / 2, -share[row:, x], rows[: height - row]))
        opacity[:, x] = np.clip((edge - rows) / _SOFT + 0.5, 0, 1) * np.clip((most - _FEW) / _FEW, 0, 1)
        # At both ends the colour is mixed with gums and lips.
        first, last = round(arch[x] - tops[x]), round(min(arch[x], edge)) - _BOTTOM
        colour[last:, x] = colour[last, x]
        colour[:, x] *= np.interp(edge - rows, [0, _THIN], [_EDGE_SHADE, 1])[:, None]
        colour[:first, x] = colour[first : first + 3, x].mean(0) * np.linspace(_DARKEST, 1, first)[:, None]
    known = np.flatnonzero(opacity.max(0) > 0)
    for x in range(width):
        colour[:, x] = colour[:, np.clip(x, known[0], known[-1])]
    return np.concatenate([colour, opacity[..., None]], -1)
