"""Eyes that shut: lids drawn down over the eyeball, on the portrait itself, before anything moves it.

A warp presses the whole eye together, and a network that predicts flow by the cell stops halfway. But an eye
does not shrink when it shuts, it is covered: the skin between crease and lashes is drawn out, the lashes come
along, the eyeball stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.face.geometry import LEFT_EYE, LIDS, RIGHT_EYE
from openemo.face.lines import CornerLine, follow

__all__ = ["EyeLids"]

Floats = NDArray[np.floating]
Image = NDArray[np.uint8]

_STEPS: Final = 16  # positions of the lids that are told apart
# How far a blink moves the lower lid and the skin above and below the eye, over the gap that it shuts: means
# of 149 blinks of the training's speaker.
_LOWER_LID, _SKIN_ABOVE, _SKIN_BELOW = 0.1, 0.18, 0.09
_LASHES: Final = 0.05  # of the eye's width: what keeps its shape at the upper lid's edge
# Where lids meet it is darker: spread over the eye's width, share of the light.
_LASH_LINE, _LASH_SHADE = 0.025, 0.35
_EDGE_PX: Final = 0.75  # of a lid's rim that eyeball and skin share
_REACH: Final = 0.5  # above and below, of the eye's width


class EyeLids:
    """The lids of one portrait.

    Args:
        picture: (P, P, 3) uint8.
        points: (478, 2 or more) landmarks, in units of the picture's side.
        finish: what becomes of each picture that is drawn; once for each position of the lids.
    """

    def __init__(
        self, picture: Image, points: Floats, *, finish: Callable[[Image], Image] | None = None
    ) -> None:
        self._picture = picture
        self._finish = finish
        pixels = np.asarray(points[:, :2] * picture.shape[0], np.float64)
        self._eyes = [
            _Eye(pixels, contour, ring) for contour, ring in ((RIGHT_EYE, LIDS[:16]), (LEFT_EYE, LIDS[16:]))
        ]
        self._drawn: dict[int, Image] = {}

    def shut(self, share: float) -> Image:
        """The portrait with its lids down, 0 as they are, 1 shut."""
        step = round(min(max(share, 0.0), 1.0) * _STEPS)
        if step not in self._drawn:
            drawn = self._picture
            if step:
                drawn = drawn.copy()
                for eye in self._eyes:
                    eye.draw(drawn, self._picture, step / _STEPS)
            self._drawn[step] = drawn if self._finish is None else self._finish(drawn)
        return self._drawn[step]


class _Eye:
    """Curves of one eye along the line between its corners."""

    def __init__(self, points_px: Floats, contour: tuple[int, ...], ring: tuple[int, ...]) -> None:
        ends = (contour[0], contour[8])
        self._line = CornerLine.between(*points_px[list(ends)])
        self._upper, self._lower, self._above, self._below = (
            self._line.curve(points_px[list(part)])
            for part in (
                (ends[0], *contour[:8:-1], ends[1]),
                contour[:9],
                (ring[15], *ring[:7], ring[7]),
                (ring[15], *ring[14:7:-1], ring[7]),
            )
        )

    def draw(self, target: Image, picture: Image, share: float) -> None:
        """Paints the eye into `target`, from `picture`."""
        side_y, side_x = picture.shape[:2]
        width = self._line.width_px
        reach = width * np.array([0.6, _REACH + 0.3])
        middle = self._line.corner + self._line.across * width / 2
        x0, y0 = np.floor(np.clip(middle - reach, 0, [side_x - 2, side_y - 2])).astype(int)
        x1, y1 = np.ceil(np.clip(middle + reach, [x0 + 2, y0 + 2], [side_x, side_y])).astype(int)
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float64)
        s, t = self._line.local(np.stack([x, y], -1))
        upper, lower, above, below = (
            np.interp(s, *curve) for curve in (self._upper, self._lower, self._above, self._below)
        )
        gap = np.where((s > 0) & (s < 1), np.maximum(lower - upper, 0), 0) * share
        above, below = np.minimum(above, upper - 2), np.maximum(below, lower + 2)
        lashes = np.minimum(_LASHES * width, 0.5 * (upper - above))
        edge = upper + (1 - _LOWER_LID) * gap
        rim = lower - _LOWER_LID * gap
        top, bottom = above - _REACH * width, below + _REACH * width
        lid_edge, cheek_edge = upper - np.minimum(gap, _EDGE_PX), lower + np.minimum(gap, _EDGE_PX)
        lid = follow(
            t,
            (top, above + _SKIN_ABOVE * gap, edge - lashes, edge),
            (top, above, lid_edge - lashes, lid_edge),
        )
        cheek = follow(t, (rim, below - _SKIN_BELOW * gap, bottom), (cheek_edge, below, bottom))
        part = picture[y0:y1, x0:x1].astype(np.float64)
        over, under = (np.clip(way + 0.5, 0, 1)[..., None] for way in (edge - t, t - rim))
        under = np.maximum(under, 1 - np.clip(rim - edge, 0, 1)[..., None])  # no eyeball between two halves
        # Nothing is mixed but along the edges, so that the eyeball stays as sharp as it is.
        part += under * (self._carried(picture, x, y, cheek - t) - part)
        part += over * (self._carried(picture, x, y, lid - t) - part)
        near = np.exp(-0.5 * ((t - edge) / (_LASH_LINE * width)) ** 2) * (gap > 0)
        part *= 1 - _LASH_SHADE * share * near[..., None]
        target[y0:y1, x0:x1] = np.clip(np.round(part), 0, 255)

    def _carried(self, picture: Image, x: Floats, y: Floats, by: Floats) -> Floats:
        """The picture at places x, y, from `by` px further down."""
        columns, rows = x + by * self._line.down[0], y + by * self._line.down[1]
        places = (columns.astype(np.float32), rows.astype(np.float32))
        carried = cv2.remap(picture, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(carried, np.float64)
