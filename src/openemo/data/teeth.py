"""A row of upper teeth, the mean of many smiles: what the model shows where a portrait hides its own.

Smiles are laid over each other by the corners of the lips and the biting edge, then tooth by tooth, in
colours over the face's light, so that people of all complexions and cameras can be averaged. The mean has no
one's teeth; what separates them, which an average washes out, gets back the strength that it has in a smile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.data.sequences import Sequence
from openemo.face.geometry import INNER_LIPS
from openemo.face.masks import fill_contour
from openemo.face.similarity import fit_similarity
from openemo.inside import light_on
from openemo.models.inside import TEETH_EDGE, TEETH_SIZE, TEETH_WIDTH

__all__ = ["mean_teeth"]

Floats = NDArray[np.floating]

_GAPS: Final = (0.15, 0.26)  # between the lips, over the mouth's width: a smile, not a laugh
_LEAST_MOUTH: Final = 0.19  # of the picture's side
_TURNED: Final = 0.12  # how much nearer the nose is to one cheek, over the face's width
_COLOURED: Final = 30.0  # mean distance between the channels, in grey levels
_LEAST_HEIGHT: Final = 10  # of a tooth, in rows
_MEAN_OF: Final = 24
_MIDDLE: Final = slice(40, 57)  # columns of the incisors
# Where teeth are told apart: rows above the edge, columns; and the width over which a row of them is even.
_ROWS: Final = slice(TEETH_EDGE - 12, TEETH_EDGE - 2)
_COLUMNS: Final = slice(20, 76)
_EVEN: Final = 11
_SCALES: Final = np.linspace(0.85, 1.18, 17)
_SHIFTS: Final = np.linspace(-3.0, 3.0, 9)


def mean_teeth(sequences: Iterable[Sequence]) -> NDArray[np.float32] | None:
    """(4, *TEETH_SIZE): colour over `light_on`, and opacity; None where fewer than 24 people smile.

    Args:
        sequences: whose references are searched for smiles.
    """
    smiles = (patch for sequence in sequences if (patch := _smile(sequence)) is not None)
    found = {colour.tobytes(): (colour, opacity) for colour, opacity in smiles}  # each portrait once
    if len(found) < _MEAN_OF:
        return None
    colours, opacities = (np.stack(part) for part in zip(*found.values(), strict=True))
    # Those that fill the row, and of these the ones that are most like all others.
    cover = opacities[:, TEETH_EDGE - 14 : TEETH_EDGE, 16:80].mean((1, 2))
    full = np.flatnonzero(cover >= np.sort(cover)[-max(len(cover) * 6 // 10, _MEAN_OF)])
    colours, opacities = colours[full], opacities[full]
    distances = np.empty(len(full))
    for index in range(len(full)):
        both = opacities[index] * opacities
        apart = (both[..., None] * np.abs(colours[index] - colours)).sum((1, 2, 3))
        distances[index] = np.mean(apart / both.sum((1, 2)))
    best = np.argsort(distances, kind="stable")[:_MEAN_OF]
    return np.asarray(_mean_of(colours[best], opacities[best]).transpose(2, 0, 1), np.float32)


def _mean_of(colours: Floats, opacities: Floats) -> Floats:
    """(h, w, 4) of smiles (N, h, w, 3), (N, h, w), stretched sideways until teeth lie over teeth."""
    mean = _average(colours, opacities)
    for _ in range(2):
        pairs = zip(colours, opacities, strict=True)
        aligned = [_aligned(np.dstack(pair), _profile(*mean)) for pair in pairs]
        mean = _average(np.stack(aligned)[..., :3], np.stack(aligned)[..., 3])
    colour, opacity = mean
    details = [_detail(*pair)[_ROWS, _COLUMNS].std() for pair in zip(colours, opacities, strict=True)]
    detail = _detail(colour, opacity)
    gain = np.median(details) / max(float(detail[_ROWS, _COLUMNS].std()), 1e-6)
    return _drawn_up(np.maximum(colour + (max(gain, 1.0) - 1) * detail, 0), opacity)


def _average(colours: Floats, opacities: Floats) -> tuple[Floats, Floats]:
    """Mean colour where there are teeth, and mean opacity; the same on both sides."""
    weight = opacities.sum(0)
    colour = (colours * opacities[..., None]).sum(0) / np.maximum(weight, 1e-3)[..., None]
    opacity = weight / len(opacities)
    return (colour + colour[:, ::-1]) / 2, (opacity + opacity[:, ::-1]) / 2


def _detail(colour: Floats, opacity: Floats) -> Floats:
    """(h, w, 3): what tells one tooth from the next."""
    weight = cv2.blur(opacity, (_EVEN, 1))[..., None]
    return np.asarray(colour - cv2.blur(colour * opacity[..., None], (_EVEN, 1)) / np.maximum(weight, 1e-3))


def _profile(colour: Floats, opacity: Floats) -> Floats:
    """(w,) along the row of teeth: bright teeth, dark lines between them."""
    profile = _detail(colour, opacity)[_ROWS].mean((0, 2)) * (opacity[_ROWS].mean(0) > 0.5)
    return np.asarray(profile / max(float(np.linalg.norm(profile)), 1e-6))


def _aligned(smile: Floats, profile: Floats) -> Floats:
    """The smile (h, w, 4) at the width and place at which its profile is most like another."""
    middle = (TEETH_SIZE[1] - 1) / 2
    moved = [
        cv2.warpAffine(
            smile.astype(np.float32),
            np.array([[1 / scale, 0, middle * (1 - 1 / scale) + shift], [0, 1, 0]]),
            TEETH_SIZE[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        )
        for scale in _SCALES
        for shift in _SHIFTS
    ]
    scores = [float(_profile(each[..., :3], each[..., 3]) @ profile) for each in moved]
    return np.asarray(moved[int(np.argmax(scores))], np.float64)


def _smile(sequence: Sequence) -> tuple[Floats, Floats] | None:
    """Colour over light (h, w, 3) and opacity (h, w) of the reference's teeth, their edge at `TEETH_EDGE`."""
    points = sequence.points_px[0].astype(np.float64)
    lips = points[list(INNER_LIPS)]
    width = float(np.linalg.norm(lips[10] - lips[0]))
    gap = float(np.linalg.norm(lips[15] - lips[5])) / max(width, 1e-6)
    if not _GAPS[0] < gap < _GAPS[1] or width < _LEAST_MOUTH * sequence.size_px:
        return None
    right, left = (float(np.linalg.norm(points[1] - points[cheek])) for cheek in (234, 454))
    turned = abs(right - left) / float(np.linalg.norm(points[234] - points[454]))
    picture = sequence.picture(0)
    if turned > _TURNED or np.ptp(picture.astype(np.int16), axis=-1).mean() < _COLOURED:
        return None
    corners = (TEETH_SIZE[1] - 1) / 2 + TEETH_WIDTH / 2 * np.array([-1.0, 1.0])
    fit = fit_similarity(lips[[0, 10]], np.column_stack([corners, [0.0, 0.0]]))
    shift = fit.shift + np.array([0.0, TEETH_EDGE - fit(lips[5])[1]])
    size = TEETH_SIZE[::-1]
    matrix = np.column_stack([fit.matrix, shift])
    patch = cv2.warpAffine(picture.astype(np.float32), matrix, size, flags=cv2.INTER_AREA)
    colour = patch / light_on(picture, points)
    mask = fill_contour(lips @ fit.matrix.T + shift, size)
    # Bright and not red: no gums, lips, or gaps.
    brightness = colour.mean(-1)
    red = (colour[..., 0] - colour[..., 1:].mean(-1)) / np.maximum(brightness, 1e-3)
    inside = cv2.erode(mask, np.ones((3, 3))) / 255
    opacity = inside * np.clip((brightness - 0.55) / 0.3, 0, 1) * np.clip((0.28 - red) / 0.12, 0, 1)
    columns = [np.flatnonzero(column > 0.5) for column in opacity[:, _MIDDLE].T]
    if np.median([len(rows) for rows in columns]) < _LEAST_HEIGHT:
        return None
    edge = int(np.median([rows[-1] if len(rows) else 0 for rows in columns]))
    return np.roll(colour, TEETH_EDGE - edge, 0), np.roll(opacity, TEETH_EDGE - edge, 0)


def _drawn_up(colour: Floats, opacity: Floats) -> Floats:
    """(h, w, 4), each tooth drawn on upwards into the dark: a lip may rise further than in a smile."""
    colour, opacity = colour.copy(), opacity.copy()
    for x in range(TEETH_SIZE[1]):
        rows = np.flatnonzero(opacity[: TEETH_EDGE + 1, x] > 0.8)
        if len(rows) < 4:
            continue
        top = int(rows[0]) + 2
        colour[:top, x] = colour[top, x] * np.linspace(0.55, 1, top)[:, None]
        opacity[:top, x] = opacity[top, x]
    below = TEETH_SIZE[0] - TEETH_EDGE - 1
    opacity[-below:] *= np.linspace(0.5, 0, below)[:, None]
    opacity = cv2.GaussianBlur(opacity, (0, 0), sigmaX=1.5, sigmaY=0.5)
    return np.concatenate([colour, opacity[..., None]], -1)
