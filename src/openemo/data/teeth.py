"""A row of upper teeth, the mean of many smiles: what the model shows where a portrait hides its own.

Smiles are laid over each other by the corners of the lips, by the arch of the biting edge, and by the lines
between the teeth, in colours over the face's light, so that people of all complexions and cameras can be
averaged. Of a mean without the lines only a blur is left, and with them it has still no one's teeth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.face.geometry import INNER_LIPS
from openemo.face.masks import fill_contour
from openemo.face.similarity import fit_similarity
from openemo.inside import light_on
from openemo.models.inside import TEETH_ARCH, TEETH_EDGE, TEETH_LINES, TEETH_SIZE, TEETH_WIDTH

__all__ = ["mean_teeth"]

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]

_GAPS: Final = (0.12, 0.27)  # between the lips, over the mouth's width: a smile, not a laugh
_LEAST_MOUTH_PX: Final = 55.0
_TURNED: Final = 0.15  # how much nearer the nose is to one cheek, over the face's width
_COLOURED: Final = 20.0  # mean distance between the channels, in grey levels
_MEAN_OF: Final = 24
_CLEAREST: Final = 40
_SAME: Final = 0.8  # correlation of two pictures of one person
_MIDDLE: Final = (TEETH_SIZE[1] - 1) / 2
# Lengths in cells of the picture.
_LEAST_HEIGHT: Final = 16.0  # of a tooth
_REACH: Final = 48  # of the arch to either side of the middle
_EVEN: Final = 15  # over which a row of one tooth has one colour
_ROWS: Final = slice(TEETH_EDGE - 18, TEETH_EDGE - 4)  # where lines between teeth are looked for
_LINES: Final = np.array([-x for x in TEETH_LINES[:0:-1]] + list(TEETH_LINES))
_SCALES: Final = np.linspace(0.8, 1.2, 17)
_SHIFT: Final = 6  # of the middle of a smile from that of the lips, and of a line from its place
_SOFT: Final = 2.5  # width of the biting edge
_THIN, _EDGE_SHADE = 4.0, 0.85  # at the edge enamel is thin, and what is behind it dark
_FEW: Final = 0.3  # share of people
_TOP, _BOTTOM = 15, 4  # above the edge: between them colours are the teeth's own
_DARKEST: Final = 0.6  # of a tooth's colour, behind the lip


@dataclass(frozen=True, slots=True)
class _Smile:
    """One person's teeth, their edge at `TEETH_EDGE`.

    Attributes:
        colour: (h, w, 3) over the light. opacity: (h, w), where there are teeth.
        clear: how much darker than the teeth the lines between them are.
    """

    colour: Floats
    opacity: Floats
    clear: float


def mean_teeth(portraits: Iterable[tuple[Image, Floats]]) -> NDArray[np.float32] | None:
    """(4, *TEETH_SIZE): colour over `light_on`, and opacity; None where fewer than 24 people smile.

    Args:
        portraits: pictures (H, W, 3) and landmarks (478, 2 or more) in px, searched for smiles.
    """
    found = [smile for portrait in portraits if (smile := _smile(*portrait)) is not None]
    clearest: list[_Smile] = []
    for smile in sorted(found, key=lambda smile: -smile.clear):
        if len(clearest) < _CLEAREST and not any(_likeness(smile, other) > _SAME for other in clearest):
            clearest.append(smile)
    if len(clearest) < _MEAN_OF:
        return None
    # Of these the ones that are most like all others: no gaps, no crooked teeth.
    likeness = [np.median([_likeness(smile, other) for other in clearest]) for smile in clearest]
    best = np.argsort(likeness)[::-1][:_MEAN_OF]
    return np.asarray(_mean_of([clearest[index] for index in best]).transpose(2, 0, 1), np.float32)


def _smile(picture: Image, points_px: Floats) -> _Smile | None:
    """The teeth of a portrait, tooth by tooth in their places."""
    points = np.asarray(points_px[:, :2], np.float64)
    lips = points[list(INNER_LIPS)]
    width = float(np.linalg.norm(lips[10] - lips[0]))
    gap = float(np.linalg.norm(lips[15] - lips[5])) / max(width, 1e-6)
    if not _GAPS[0] < gap < _GAPS[1] or width < _LEAST_MOUTH_PX:
        return None
    right, left = (float(np.linalg.norm(points[1] - points[cheek])) for cheek in (234, 454))
    turned = abs(right - left) / float(np.linalg.norm(points[234] - points[454]))
    if turned > _TURNED or np.ptp(picture.astype(np.int16), axis=-1).mean() < _COLOURED:
        return None
    corners = _MIDDLE + TEETH_WIDTH / 2 * np.array([-1.0, 1.0])
    fit = fit_similarity(lips[[0, 10]], np.column_stack([corners, [0.0, 0.0]]))
    shift = fit.shift + np.array([0.0, TEETH_EDGE - fit(lips[5])[1]])
    size = TEETH_SIZE[::-1]
    matrix = np.column_stack([fit.matrix, shift])
    patch = cv2.warpAffine(picture.astype(np.float32), matrix, size, flags=cv2.INTER_CUBIC)
    colour = np.asarray(patch / light_on(picture, points), np.float64).clip(0)
    inside = cv2.erode(fill_contour(lips @ fit.matrix.T + shift, size), np.ones((5, 5))) / 255
    opacity = inside * _like_teeth(colour)
    arch = _arch(opacity)
    if arch is None:
        return None
    columns = np.arange(size[0])
    rises = np.polyval(arch, columns - _MIDDLE) - (TEETH_EDGE - TEETH_ARCH * (columns - _MIDDLE) ** 2)
    straight = _shifted(np.dstack([colour, opacity]), rises)
    places, clear = _lines(straight[..., :3], straight[..., 3])
    registered = _stretched(straight, places)
    return _Smile(registered[..., :3], registered[..., 3].clip(0, 1), clear)


def _like_teeth(colour: Floats) -> Floats:
    """(h, w) in [0, 1]: bright and not red, so no gums, lips, or gaps."""
    brightness = colour.mean(-1)
    red = (colour[..., 0] - colour[..., 1:].mean(-1)) / np.maximum(brightness, 1e-3)
    return np.asarray(np.clip((brightness - 0.55) / 0.3, 0, 1) * np.clip((0.28 - red) / 0.12, 0, 1))


def _edge(opacity: Floats) -> tuple[Floats, Floats]:
    """(w,) row of the biting edge, and height of the tooth above it in cells: 0 where there is none."""
    edge, height = np.zeros(opacity.shape[1]), np.zeros(opacity.shape[1])
    for x, column in enumerate(opacity.T):
        bounds = np.flatnonzero(np.diff(np.concatenate([[0], (column > 0.5).astype(np.int8), [0]])))
        if not len(bounds):
            continue
        # The longest run: what follows below a gap are lower teeth.
        first, last = bounds.reshape(-1, 2)[np.diff(bounds.reshape(-1, 2))[:, 0].argmax()]
        height[x] = last - first
        inside, outside = column[last - 1], column[last] if last < len(column) else 0.0
        edge[x] = last - 1 + (inside - 0.5) / max(float(inside - outside), 1e-6)
    return edge, height


def _arch(opacity: Floats) -> Floats | None:
    """Parabola (3,) of the biting edge over the way from the middle; None where too little is seen."""
    edge, height = _edge(opacity)
    away = np.arange(len(edge)) - _MIDDLE
    seen = (height > _LEAST_HEIGHT / 2) & (np.abs(away) < _REACH)
    if seen.sum() < 1.5 * _REACH or np.median(height[np.abs(away) < _REACH / 2]) < _LEAST_HEIGHT:
        return None
    weight = seen.astype(np.float64)
    for _ in range(6):  # least absolute distances: notches and lips are no part of it
        arch = np.polyfit(away, edge, 2, w=np.sqrt(weight))
        weight = seen / np.maximum(np.abs(edge - np.polyval(arch, away)), 0.5)
    return np.asarray(arch)


def _shifted(picture: Floats, rows: Floats) -> Floats:
    """The picture (h, w, C), each column taken from so many rows further down."""
    y, x = (np.asarray(part, np.float64) for part in np.indices(picture.shape[:2]))
    return _taken(picture, x, y + rows)


def _stretched(picture: Floats, places: Floats) -> Floats:
    """The picture (h, w, C) with what is in the columns `places` in those of `_LINES`."""
    y, x = (np.asarray(part, np.float64) for part in np.indices(picture.shape[:2]))
    ends = 2 * _MIDDLE * np.array([-1.0, 1.0])
    known = np.concatenate([ends[:1] + _LINES[0], _LINES, ends[1:] + _LINES[-1]])
    sources = np.concatenate([ends[:1] + places[0], places, ends[1:] + places[-1]])
    return _taken(picture, np.interp(x - _MIDDLE, known, sources) + _MIDDLE, y)


def _taken(picture: Floats, x: Floats, y: Floats) -> Floats:
    places = x.astype(np.float32), y.astype(np.float32)
    return np.asarray(cv2.remap(picture.astype(np.float32), *places, cv2.INTER_CUBIC), np.float64)


def _detail(colour: Floats, opacity: Floats) -> Floats:
    """(h, w): darkness, over that of the surroundings: what tells one tooth from the next."""
    light = colour.mean(-1)
    around = cv2.blur(light * opacity, (_EVEN, 1)) / np.maximum(cv2.blur(opacity, (_EVEN, 1)), 1e-3)
    return np.asarray(np.clip(light / np.maximum(around, 1e-3) - 1, -0.5, 0.25))


def _lines(colour: Floats, opacity: Floats) -> tuple[Floats, float]:
    """Columns (L,) of the lines between the teeth, from the middle, and how clear they are.

    Of all rows of teeth whose widths are plausible, the one with the darkest lines.
    """
    dark = -_detail(colour, opacity)[_ROWS].mean(0) * (cv2.blur(opacity, (5, 1))[_ROWS].mean(0) > 0.4)
    dark = cv2.GaussianBlur(dark[None], (0, 0), 1.0)[0]
    moves = np.arange(-_SHIFT, _SHIFT + 1)
    step = np.abs(moves[:, None] - moves)  # a tooth that much wider or narrower than others
    best, found = -np.inf, np.asarray(_LINES, np.float64)
    for scale in _SCALES:
        places = np.round(_MIDDLE + scale * _LINES[:, None] + moves).astype(np.int64)
        gain = dark[places.clip(0, len(dark) - 1)]
        total, back = gain[0] - 0.002 * np.abs(moves), []
        for line in gain[1:]:
            ways = total[:, None] - 0.0025 * step**2
            back.append(ways.argmax(0))
            total = ways.max(0) + line
        score = float(total.max()) - 0.1 * abs(np.log(scale))
        if score > best:
            index = int(total.argmax())
            way = [index]
            for before in reversed(back):
                index = int(before[index])
                way.append(index)
            best, found = score, places[np.arange(len(_LINES)), way[::-1]] - _MIDDLE
    return np.asarray(found, np.float64), best


def _likeness(one: _Smile, other: _Smile) -> float:
    """Correlation of two rows of teeth, one of them as in a mirror where that is more."""
    columns = slice(round(_MIDDLE) - _REACH, round(_MIDDLE) + _REACH + 1)
    first, second = (_detail(each.colour, each.opacity)[_ROWS, columns] for each in (one, other))
    return max(float(np.corrcoef(first.ravel(), there.ravel())[0, 1]) for there in (second, second[:, ::-1]))


def _mean_of(smiles: list[_Smile]) -> Floats:
    """(h, w, 4), the same on both sides; the edge as sharp as one person's."""
    opacities = np.stack([smile.opacity for smile in smiles])
    weight = opacities.sum(0)
    colour = np.einsum("nhw,nhwc->hwc", opacities, np.stack([smile.colour for smile in smiles]))
    weight, colour = weight + weight[:, ::-1], colour + colour[:, ::-1]
    share = weight / (2 * len(smiles))
    mean = colour / np.maximum(weight, 1e-3)[..., None]
    # What separates teeth, which an average washes out, gets back the strength that it has in a smile.
    detail = _detail(mean, share)
    here = _ROWS, slice(round(_MIDDLE) - _REACH, round(_MIDDLE) + _REACH + 1)
    usual = np.median([_detail(smile.colour, smile.opacity)[here].std() for smile in smiles])
    gain = float(usual) / max(float(detail[here].std()), 1e-6)
    return _whole(mean * (1 + max(gain - 1, 0) * detail[..., None]), share)


def _whole(colour: Floats, share: Floats) -> Floats:
    """(h, w, 4), each tooth drawn on upwards: a lip may rise further than in a smile.

    Args:
        colour: (h, w, 3), known where there are teeth. share: (h, w), of people who have teeth there.
    """
    height, width = share.shape
    colour, rows = colour.copy(), np.arange(height)
    away = np.arange(width) - _MIDDLE
    arch = TEETH_EDGE - TEETH_ARCH * away**2
    opacity = np.zeros_like(share)
    for x in range(width):
        most = float(share[:, x].max())
        if most < _FEW:
            continue
        row = int(share[:, x].argmax())
        edge = row + float(np.interp(-most / 2, -share[row:, x], rows[: height - row]))
        opacity[:, x] = np.clip((edge - rows) / _SOFT + 0.5, 0, 1) * np.clip((most - _FEW) / _FEW, 0, 1)
        # Gums and lips shine through at the ends.
        first, last = round(arch[x]) - _TOP, round(min(arch[x], edge)) - _BOTTOM
        colour[last:, x] = colour[last, x]
        colour[:, x] *= np.interp(edge - rows, [0, _THIN], [_EDGE_SHADE, 1])[:, None]
        colour[:first, x] = colour[first : first + 3, x].mean(0) * np.linspace(_DARKEST, 1, first)[:, None]
    known = np.flatnonzero(opacity.max(0) > 0)
    for x in range(width):
        colour[:, x] = colour[:, np.clip(x, known[0], known[-1])]
    return np.concatenate([colour, opacity[..., None]], -1)
