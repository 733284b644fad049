"""A row of upper teeth, the mean of many smiles. The model shows it where a portrait hides its teeth.

Smiles are aligned by the corners of the lips, by the arch of the biting edge, and by the lines between the
teeth. Colours are relative to the white point of the face, so that all complexions and cameras can be
averaged. Without aligned lines the mean would be a blur; with them it still shows no single person's teeth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import INNER_LIPS
from openemo.rendering.mouth_interior import TEETH_BOUNDARIES, TEETH_EDGE_ROW, TEETH_SIZE
from openemo.rendering.smile_teeth import extend_teeth, find_smile_teeth, resample
from openemo.rendering.tone import channel_range

__all__ = ["mean_teeth"]


_GAPS: Final = (0.12, 0.27)  # between the lips, over the mouth's width: a smile, not a laugh
_LEAST_MOUTH_PX: Final = 55.0
_TURNED: Final = 0.15  # how much nearer the nose is to one cheek, over the face's width
_LEAST_CHANNEL_RANGE: Final = 20.0  # in grey levels; less is a grey or toned picture
_MEAN_OF: Final = 24
_CLEAREST: Final = 40
_SAME: Final = 0.8  # correlation of two pictures of the same person
_MIDDLE: Final = (TEETH_SIZE[1] - 1) / 2
# Lengths in cells of the picture.
_REACH: Final = 48  # of the arch on both sides of the middle
_EVEN: Final = 15  # width over which a row of one tooth has one colour
_ROWS: Final = slice(TEETH_EDGE_ROW - 18, TEETH_EDGE_ROW - 4)  # where lines between teeth are searched
_LINES: Final = np.array([-x for x in TEETH_BOUNDARIES[:0:-1]] + list(TEETH_BOUNDARIES))
_SCALES: Final = np.linspace(0.8, 1.2, 17)
_SHIFT: Final = 6  # of the smile from the middle of the lips, and of a line from its usual column


@dataclass(frozen=True, slots=True)
class _Smile:
    """The teeth of one person, with their edge at `TEETH_EDGE_ROW`.

    Attributes:
        colour: (h, w, 3) over the white point. opacity: (h, w), 1 where there are teeth.
        clarity: how much darker the lines between the teeth are than the teeth.
    """

    colour: Floats
    opacity: Floats
    clarity: float


def mean_teeth(portraits: Iterable[tuple[Image, Floats]]) -> NDArray[np.float32] | None:
    """(4, *TEETH_SIZE): RGB over the white point, and opacity; None if fewer than 24 people smile.

    Args:
        portraits: pictures (H, W, 3) and landmarks (478, 2 or more) in px, searched for smiles.
    """
    found = [smile for portrait in portraits if (smile := _smile(*portrait)) is not None]
    clearest: list[_Smile] = []
    for smile in sorted(found, key=lambda smile: -smile.clarity):
        if len(clearest) < _CLEAREST and not any(_likeness(smile, other) > _SAME for other in clearest):
            clearest.append(smile)
    if len(clearest) < _MEAN_OF:
        return None
    # Those that are most like all others: no gaps, no crooked teeth.
    likeness = [np.median([_likeness(smile, other) for other in clearest]) for smile in clearest]
    best = np.argsort(likeness)[::-1][:_MEAN_OF]
    return np.asarray(_mean_of([clearest[index] for index in best]).transpose(2, 0, 1), np.float32)


def _smile(picture: Image, points_px: Floats) -> _Smile | None:
    """The teeth of a portrait, each tooth in its usual columns; None if they are not well seen."""
    lips = points_px[list(INNER_LIPS), :2]
    right, left = (float(np.linalg.norm(points_px[1, :2] - points_px[cheek, :2])) for cheek in (234, 454))
    turned = abs(right - left) / float(np.linalg.norm(points_px[234, :2] - points_px[454, :2]))
    width = float(np.linalg.norm(lips[10] - lips[0]))
    gap = float(np.linalg.norm(lips[15] - lips[5])) / max(width, 1e-6)
    if not _GAPS[0] < gap < _GAPS[1] or width < _LEAST_MOUTH_PX or turned > _TURNED:
        return None
    if channel_range(picture) < _LEAST_CHANNEL_RANGE:
        return None
    straight = find_smile_teeth(picture, points_px)
    if straight is None:
        return None
    lines, clarity = _find_lines(straight[..., :3], straight[..., 3])
    registered = _stretch(straight, lines)
    return _Smile(registered[..., :3], registered[..., 3].clip(0, 1), clarity)


def _stretch(picture: Floats, lines: Floats) -> Floats:
    """The picture (h, w, C), stretched so that the columns `lines` come to `_LINES`."""
    y, x = (np.asarray(part, np.float64) for part in np.indices(picture.shape[:2]))
    ends = 2 * _MIDDLE * np.array([-1.0, 1.0])
    known = np.concatenate([ends[:1] + _LINES[0], _LINES, ends[1:] + _LINES[-1]])
    sources = np.concatenate([ends[:1] + lines[0], lines, ends[1:] + lines[-1]])
    return resample(picture, np.interp(x - _MIDDLE, known, sources) + _MIDDLE, y)


def _detail(colour: Floats, opacity: Floats) -> Floats:
    """(h, w): brightness relative to its surroundings; the lines between teeth are negative."""
    light = colour.mean(-1)
    around = cv2.blur(light * opacity, (_EVEN, 1)) / np.maximum(cv2.blur(opacity, (_EVEN, 1)), 1e-3)
    return np.asarray(np.clip(light / np.maximum(around, 1e-3) - 1, -0.5, 0.25))


def _find_lines(colour: Floats, opacity: Floats) -> tuple[Floats, float]:
    """Columns (L,) of the lines between the teeth, from the middle, and their clarity.

    Dynamic programming over all rows of teeth with plausible widths: the one with the darkest lines.
    """
    dark = -_detail(colour, opacity)[_ROWS].mean(0) * (cv2.blur(opacity, (5, 1))[_ROWS].mean(0) > 0.4)
    dark = cv2.GaussianBlur(dark[None], (0, 0), 1.0)[0]
    moves = np.arange(-_SHIFT, _SHIFT + 1)
    step = np.abs(moves[:, None] - moves)  # how much wider or narrower a tooth is than usual
    best, found = -np.inf, np.asarray(_LINES, np.float64)
    for scale in _SCALES:
        columns = np.round(_MIDDLE + scale * _LINES[:, None] + moves).astype(np.int64)
        gain = dark[columns.clip(0, len(dark) - 1)]
        total, back = gain[0] - 0.002 * np.abs(moves), []
        for line in gain[1:]:
            scores = total[:, None] - 0.0025 * step**2
            back.append(scores.argmax(0))
            total = scores.max(0) + line
        score = float(total.max()) - 0.1 * abs(np.log(scale))
        if score > best:
            index = int(total.argmax())
            path = [index]
            for previous in reversed(back):
                index = int(previous[index])
                path.append(index)
            best, found = score, columns[np.arange(len(_LINES)), path[::-1]] - _MIDDLE
    return np.asarray(found, np.float64), best


def _likeness(one: _Smile, other: _Smile) -> float:
    """Correlation of two rows of teeth, or of one with the mirrored other, if that is higher."""
    columns = slice(round(_MIDDLE) - _REACH, round(_MIDDLE) + _REACH + 1)
    first, second = (_detail(each.colour, each.opacity)[_ROWS, columns] for each in (one, other))
    return max(float(np.corrcoef(first.ravel(), there.ravel())[0, 1]) for there in (second, second[:, ::-1]))


def _mean_of(smiles: list[_Smile]) -> Floats:
    """(h, w, 4), symmetric, with lines as clear as those of one person."""
    opacities = np.stack([smile.opacity for smile in smiles])
    weight = opacities.sum(0)
    colour = np.einsum("nhw,nhwc->hwc", opacities, np.stack([smile.colour for smile in smiles]))
    weight, colour = weight + weight[:, ::-1], colour + colour[:, ::-1]
    share = weight / (2 * len(smiles))
    mean = colour / np.maximum(weight, 1e-3)[..., None]
    # Averaging weakens the lines between teeth. They get back their usual strength.
    detail = _detail(mean, share)
    here = _ROWS, slice(round(_MIDDLE) - _REACH, round(_MIDDLE) + _REACH + 1)
    usual = np.median([_detail(smile.colour, smile.opacity)[here].std() for smile in smiles])
    gain = float(usual) / max(float(detail[here].std()), 1e-6)
    return extend_teeth(mean * (1 + max(gain - 1, 0) * detail[..., None]), share)
