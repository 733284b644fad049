"""The colours that a drawing has for a mouth: its own darkest line, its own white, its own lips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, OUTER_LIPS
from openemo.rendering.picture_manner import inside

__all__ = ["DrawingPalette"]

_LINE_SHARE: Final = 3.0  # percent of the face that is as dark as its lines
_MOUTH_SHARE: Final = 3.0  # the same of the mouth
_WHITE_SHARE: Final = 99.7  # of the face that is darker than the white of the eyes and their lights
# Grey levels: a drawing without any white on a skin darker than paper; its teeth are lighter skin.
_NO_WHITE, _PAPER, _LIGHTER = 8.0, 215.0, 0.7
_FACE_SCALE: Final = 1.03  # of the oval, with the face's outline
_LIP_CHROMA: Final = 25.0  # grey levels between channels; what has more beside the skin is a lip's colour


@dataclass(frozen=True, slots=True)
class DrawingPalette:
    """Colours (3,) RGB in grey levels, each one that many pixels of the portrait have.

    Attributes:
        dark: of the face's darkest lines; for the cavity.
        light: of the face's brightest parts, paper or the eyes' white; for the teeth.
        tongue: of the mouth's line or the lips if they are coloured, else as dark as the cavity.
    """

    dark: Floats
    light: Floats
    tongue: Floats

    @classmethod
    def of(cls, image: Image, points_px: Floats) -> DrawingPalette:
        """
        Args:
            image: (P, P, 3) uint8 RGB.
            points_px: (478, 2 or more) landmarks.
        """
        face = _pixels(image, inside(points_px[list(FACE_OVAL), :2], image, _FACE_SCALE))
        mouth = _pixels(image, inside(points_px[list(OUTER_LIPS), :2], image))
        dark, light = _darkest(face, _LINE_SHARE), _brightest(face, _WHITE_SHARE)
        skin = np.median(face, 0)
        if light.mean() < skin.mean() + _NO_WHITE and skin.mean() < _PAPER:
            light = skin + _LIGHTER * (255 - skin)
        tongue = _darkest(mouth, _MOUTH_SHARE)
        tinted = (tongue - tongue.mean()) - (skin - skin.mean()) * tongue.mean() / max(skin.mean(), 1.0)
        is_coloured = np.ptp(tinted) > _LIP_CHROMA and tongue.mean() > dark.mean()
        return cls(dark, light, tongue if is_coloured else dark)


def _pixels(image: Image, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    """(N, 3) pixels under a mask; the whole picture if there are none."""
    pixels = image[mask] if mask.any() else image.reshape(-1, 3)
    return pixels.astype(np.float64)


def _darkest(pixels: Floats, percent: float) -> Floats:
    """(3,) median of the darkest pixels: a colour that occurs, not a mixture from the edge of a line."""
    brightness = pixels.mean(1)
    return np.asarray(np.median(pixels[brightness <= np.percentile(brightness, percent)], 0), np.float64)


def _brightest(pixels: Floats, percent: float) -> Floats:
    brightness = pixels.mean(1)
    return np.asarray(np.median(pixels[brightness >= np.percentile(brightness, percent)], 0), np.float64)
