"""Finds the watermark in frames that were compressed, resized or cropped. The original is not needed.

The mark is the same in all frames, so frames are added up first. Then tiles of all sizes are tried: the
picture is folded into one tile, whitened (each frequency counts alike, which no content does by itself), and
compared with the synchronisation pattern at all places at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from openemo.arrays import Image
from openemo.provenance.watermark_pattern import (
    GRID_PX,
    TILE_PX,
    from_band,
    mark_band,
    patterns,
    shift_ramp,
    to_band,
)
from openemo.provenance.watermark_payload import from_symbols

__all__ = ["LEAST_SCORE", "MarkReading", "find_watermark"]

Plane = npt.NDArray[np.float32]
Band = npt.NDArray[np.complex128]

LEAST_SCORE: Final = 10.0
"""From which score on a mark counts: docs/guides/trust.md has the scores of pictures without one."""

_MOST_SIDE_PX: Final = 512  # of a frame; larger ones are made smaller
_CALM_PX: Final = 4.0  # of a tile of 128: what is taken out before, light and large shapes
_NOISE: Final = 1.0  # variance that every place has at least
# Side of the tile, of the longer side of the frame, from a picture with wide borders to a small piece of one.
_LEAST_TILE, _MOST_TILE = 0.11, 0.9
# Sizes of the tile, of 128 px: from, to, the one that the frame is made calm for, and the frame's own size.
_SIZES: Final = ((0.0, 0.8, 0.55, 1.0), (0.8, 1.6, 1.1, 1.0), (1.6, np.inf, 2.2, 0.5))
_STEP: Final = 0.008  # between the sizes that are tried: half a wave at the picture's edge
_FINE_STEPS: Final = (-0.004, 0.0, 0.004)
_SEARCH_PX: Final = 64  # side of the tile while sizes are tried: enough for its waves
_CANDIDATES: Final = 6
_CHOICES: Final = 4  # most likely places of each symbol


@dataclass(frozen=True, slots=True)
class MarkReading:
    """What was found.

    Attributes:
        mark_id: None where no mark was found.
        score: how far the whole mark stands out of one place's chance, in standard deviations. Without a
            mark, that of what resembles one most: 8 to 9, because it is the best of many.
        tile_px: side of the tile in the frames, (down, right).
    """

    mark_id: int | None
    score: float
    tile_px: tuple[float, float] = (0.0, 0.0)
    is_mirrored: bool = False


class _Candidate(NamedTuple):
    score: float
    scale_y: float
    scale_x: float
    is_mirrored: bool
    level: int


def find_watermark(frames: Iterable[Image]) -> MarkReading:
    """The mark in frames of one video, or in one picture.

    Args:
        frames: (height, width, 3 or 4) uint8 of one size. Two dozen that lie apart say as much as all.
    """
    levels, reduction = _add_up(frames)
    if not levels:
        return MarkReading(None, 0.0)
    best = MarkReading(None, 0.0)
    for candidate in _search(levels):
        refined = _refine(levels, candidate)
        mark_id, score = _read(levels, refined)
        if score < LEAST_SCORE:
            mark_id = None
        if (mark_id is not None, score) > (best.mark_id is not None, best.score):
            tile_px = (TILE_PX * refined.scale_y / reduction, TILE_PX * refined.scale_x / reduction)
            best = MarkReading(mark_id, score, tile_px, refined.is_mirrored)
    return best


class _Level(NamedTuple):
    """Frames added up for tiles of some sizes.

    Attributes:
        calm: what is left of light and shapes, with the same strength everywhere.
        factor: its size, of the frame's.
        scales: of tiles of 128 px in the frame, which it is for.
    """

    calm: Plane
    factor: float
    scales: tuple[float, float]


def _add_up(frames: Iterable[Image]) -> tuple[list[_Level], float]:
    """The levels, and how much smaller than the frames. Those of another size than the first do not count."""
    sums: list[Plane] = []
    reduction = 1.0
    for frame in frames:
        luma, smaller = _luma(frame)
        if sums and luma.shape != sums[0].shape:
            continue
        reduction = smaller
        half = cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        calm = [
            _calm(half if factor < 1 else luma, _CALM_PX * scale * factor) for _, _, scale, factor in _SIZES
        ]
        sums = [total + one for total, one in zip(sums, calm, strict=True)] if sums else calm
    if not sums:
        return [], reduction
    side_px = max(sums[0].shape)
    least, most = _LEAST_TILE * side_px / TILE_PX, _MOST_TILE * side_px / TILE_PX
    levels = [
        _Level(total, factor, (max(least, low), min(most, high)))
        for total, (low, high, _, factor) in zip(sums, _SIZES, strict=True)
    ]
    return levels, reduction


def _luma(frame: Image) -> tuple[Plane, float]:
    luma = cv2.cvtColor(np.ascontiguousarray(frame[..., :3]), cv2.COLOR_RGB2GRAY)
    reduction = min(1.0, _MOST_SIDE_PX / max(luma.shape))
    if reduction < 1:
        size = (max(1, round(reduction * luma.shape[1])), max(1, round(reduction * luma.shape[0])))
        luma = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
    return np.asarray(luma, np.float32), reduction


def _calm(luma: Plane, sigma_px: float) -> Plane:
    high = luma - cv2.GaussianBlur(luma, (0, 0), sigma_px)
    power = cv2.GaussianBlur(high * high, (0, 0), sigma_px)
    return np.asarray(high / np.sqrt(power + _NOISE), np.float32)


def _search(levels: Sequence[_Level]) -> list[_Candidate]:
    """The sizes at which the synchronisation pattern stands out most."""
    found: list[_Candidate] = []
    for number, level in enumerate(levels):
        low, high = level.scales
        count = int(np.log(high / low) / _STEP) if high > low else 0
        for scale in low * np.exp(_STEP * np.arange(count)):
            tile = _folded(level, scale, scale, _SEARCH_PX)
            for is_mirrored in (False, True):
                score = _sync_score(_whitened(tile, is_mirrored))
                found.append(_Candidate(score, float(scale), float(scale), is_mirrored, number))
    return heapq.nlargest(_CANDIDATES, found)


def _refine(levels: Sequence[_Level], start: _Candidate) -> _Candidate:
    """The best sizes near these, height and width apart."""
    tried = []
    for down, right in product(_FINE_STEPS, _FINE_STEPS):
        scale_y, scale_x = start.scale_y * (1 + down), start.scale_x * (1 + right)
        tile = _folded(levels[start.level], scale_y, scale_x, _SEARCH_PX)
        score = _sync_score(_whitened(tile, start.is_mirrored))
        tried.append(start._replace(score=score, scale_y=scale_y, scale_x=scale_x))
    return max(tried)


def _folded(level: _Level, scale_y: float, scale_x: float, side_px: int) -> npt.NDArray[np.float32]:
    """(side, side): the picture with tiles of this size, all on each other.

    Args:
        scale_y, scale_x: of the tile in the frame, of 128 px.
    """
    height, width = level.calm.shape
    finer = side_px / TILE_PX / level.factor
    size = (max(1, round(width * finer / scale_x)), max(1, round(height * finer / scale_y)))
    interpolation = cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR
    plane = cv2.resize(level.calm, size, interpolation=interpolation)
    plane = np.pad(plane, [(0, -length % side_px) for length in plane.shape])
    return np.asarray(plane.reshape(-1, side_px, plane.shape[1] // side_px, side_px).sum((0, 2)))


def _whitened(tile: npt.NDArray[np.float32], is_mirrored: bool) -> Band:
    """Its waves, all of size 1."""
    band = to_band(np.ascontiguousarray(tile[:, ::-1]) if is_mirrored else tile)
    return np.asarray(band / np.maximum(np.abs(band), 1e-9))


def _surface(band: Band, pattern: Band, side_px: int) -> npt.NDArray[np.float64]:
    """(side, side): how alike they are at each shift, in standard deviations."""
    surface = from_band(band * np.conj(pattern), side_px)
    # Both are of size 1 in one half of the plane.
    return np.asarray(surface * side_px**2 / np.sqrt(2 * np.count_nonzero(pattern)))


def _sync_score(band: Band) -> float:
    return float(_surface(band, patterns()[0], _SEARCH_PX).max())


def _read(levels: Sequence[_Level], candidate: _Candidate) -> tuple[int | None, float]:
    """The id, where one can be read, and how far the whole mark stands out."""
    _, scale_y, scale_x, is_mirrored, number = candidate
    band = _whitened(_folded(levels[number], scale_y, scale_x, TILE_PX), is_mirrored)
    down, right = _peak(_surface(band, patterns()[0], TILE_PX))
    band = band * np.conj(shift_ramp(down, right))
    choices = [_likely(band, pattern) for pattern in patterns()[1:]]
    marks = [symbols for symbols in product(*choices) if from_symbols(symbols) is not None]
    # Without a checksum that is right, the most likely symbols tell how much it looks like a mark.
    marks = marks or [tuple(likely[-1] for likely in choices)]
    score, symbols = max((_mark_score(band, one), one) for one in marks)
    return from_symbols(symbols), score


def _peak(surface: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Where it is highest, between the pixels."""
    row, column = divmod(int(surface.argmax()), TILE_PX)
    return _between(surface[:, column], row), _between(surface[row], column)


def _between(line: npt.NDArray[np.float64], place: int) -> float:
    """The top of the parabola through the highest value and its neighbours; the line is a ring."""
    before, here, after = line[place - 1], line[place], line[(place + 1) % len(line)]
    bend = before - 2 * here + after
    return place + (0.5 * float((before - after) / bend) if bend < 0 else 0.0)


def _likely(band: Band, pattern: Band) -> list[int]:
    """The most likely symbols of a pattern."""
    places = _surface(band, pattern, TILE_PX)[::GRID_PX, ::GRID_PX].ravel()
    return [int(symbol) for symbol in np.argsort(places)[-_CHOICES:]]


def _mark_score(band: Band, symbols: tuple[int, ...]) -> float:
    mark = mark_band(symbols)
    # Where no mark is, phases are independent, and the real part has half of the power.
    variance = 0.5 * float((np.abs(mark) ** 2).sum())
    return float(np.real(np.vdot(mark, band)) / np.sqrt(variance))
