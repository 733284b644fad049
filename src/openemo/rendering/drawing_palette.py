"""The colours that a drawing has for a mouth: its own darkest line, its own white, its own lips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.rendering.picture_manner import inside

__all__ = ["DrawingPalette"]

_LINE_SHARE: Final = 3.0  # percent of the face that is as dark as its lines
_MOUTH_SHARE: Final = 3.0  # the same of the mouth
_WHITE_CHROMA: Final = 40.0  # grey levels between the channels of a white, at most
_MIN_WHITES: Final = 12  # pixels
_SKIN_HUE: Final = 0.1  # difference of a channel over the mean of all
_LIGHT_SHARE: Final = 95.0  # percent of the skin that is darker than its lights
_FACE_SCALE: Final = 1.03  # of the oval, with the face's outline
_LIP_CHROMA: Final = 25.0  # grey levels between channels; what has more beside the skin is a lip's colour


@dataclass(frozen=True, slots=True)
class DrawingPalette:
    """Colours (3,) RGB in grey levels, each one that many pixels of the portrait have.

    Attributes:
        dark: of the face's darkest lines; for the cavity.
        light: of paper or of the eyes' white; for the teeth.
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
        contours = {
            name: points_px[list(part), :2]
            for name, part in (("face", FACE_OVAL), ("lips", OUTER_LIPS), ("gap", INNER_LIPS))
        }
        face = _pixels(image, inside(contours["face"], image, _FACE_SCALE))
        mouth = _pixels(image, inside(contours["lips"], image))
        eyes = _pixels(
            image,
            np.logical_or(*(inside(points_px[list(eye), :2], image) for eye in (RIGHT_EYE, LEFT_EYE))),
        )
        dark = _darkest(face, _LINE_SHARE)
        skin = np.median(face, 0)
        light = _white_of(eyes, face, skin)
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


def _white_of(eyes: Floats, face: Floats, skin: Floats) -> Floats:
    """(3,) the eyes' white, else the face's, else the lightest of the skin's hue. An iris is no white."""
    for pixels in (eyes, face):
        whites = pixels[(np.ptp(pixels, axis=1) <= _WHITE_CHROMA) & (pixels.mean(1) >= skin.mean())]
        if len(whites) >= _MIN_WHITES:
            return np.asarray(np.median(whites, 0), np.float64)
    hues = face / np.maximum(face.mean(1, keepdims=True), 1)
    own = face[np.abs(hues - skin / max(skin.mean(), 1.0)).max(1) <= _SKIN_HUE]
    own = own if len(own) else skin[None]
    return np.asarray(np.median(own[own.mean(1) >= np.percentile(own.mean(1), _LIGHT_SHARE)], 0), np.float64)
