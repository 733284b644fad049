"""Colours for the inside of a mouth, in the light and in the palette of the picture.

What is white or dark in one picture is neither in another: a painting has warm whites and brown darks, an
old print has no black. So the tint comes from the whites of the eyes, the dark from the darkest parts of the
face, the tongue from the lips.

Shapes: P side of the portrait in px.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_IRIS,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from openemo.rendering.lip_contour import LipContour
from openemo.rendering.picture_manner import inside
from openemo.rendering.tone import colour_share

__all__ = ["MouthColours", "edge_width_px", "estimate_white_point"]

# Over the white point.
_THROAT: Final = np.array([0.14, 0.075, 0.07])
_CHEEKS: Final = np.array([0.36, 0.18, 0.17])
_TONGUE: Final = np.array([0.66, 0.38, 0.36])
# The white point: this part of the skin's colour comes from the light; highlights are brighter than teeth.
_TINT, _HIGHLIGHT = 0.35, 0.75
# Share of the picture's own colour in each, and how bright it is there.
_OWN_DARK, _DARK = 0.5, 0.85  # of the face's darkest parts, in the throat
_OWN_LIPS, _LIPS_AS_TONGUE, _LIPS_AS_CHEEKS = 0.5, 0.8, 0.42
_DARKER_THROAT: Final = 0.7  # at most, over the cheeks: a face may have nothing dark
_RED_IN_GREY: Final = 0.45  # brightness of tongue and cheeks in a picture without colour
_DARKEST: Final = 1.0  # percent of the face
_LINE_SEARCH: Final = 0.02  # above and below the line between the lips, over the mouth's width
_LINE_COLUMNS: Final = (0.15, 0.85)  # from corner to corner
_LINE_DARK: Final = 0.4  # of the lips' brightness, where a photo shows no line
_EYES_WHITE: Final = 0.95  # of white in the mouth's place, at least, over the whites of the eyes
_MOST_BY_EYES: Final = 1.3  # factor; glasses may reflect a lamp there
_EYE_TINT: Final = 0.3  # of the tint of the whites of the eyes beside that of the skin
_BRIGHTEST: Final = 70.0  # percent of the eye that is darker than its white
_FACE_SCALE: Final = 0.95
_SHARPEST: Final = 99.0  # percent of the face that is less sharp
_EDGE_PX: Final = (1.5, 8.0)  # width of a sharp and of the softest edge


@dataclass(frozen=True, slots=True)
class MouthColours:
    """RGB (3,) in grey levels.

    Attributes:
        white: of a white object in the mouth's place.
        teeth_tint: factor on the colour of teeth, of mean 1.
        throat, cheeks, tongue: of the cavity.
        line: between lips that meet.
    """

    white: Floats
    teeth_tint: Floats
    throat: Floats
    cheeks: Floats
    tongue: Floats
    line: Floats

    @classmethod
    def of(cls, image: Image, points_px: Floats, lips: LipContour, *, is_open: bool) -> MouthColours:
        """
        Args:
            image: (P, P, 3) uint8 RGB.
            points_px: (478, 2 or more) landmarks.
            lips: their edges in the image; is_open: there is a gap between them.
        """
        white = estimate_white_point(image, points_px)
        eyes = _eye_whites(image, points_px)
        if eyes is not None:  # dark skin says little of what is white
            white *= np.clip(_EYES_WHITE * eyes.mean() / white.mean(), 1, _MOST_BY_EYES)
        face = image[inside(points_px[list(FACE_OVAL), :2], image, _FACE_SCALE)].astype(np.float64)
        is_lip = inside(points_px[list(OUTER_LIPS), :2], image) & ~inside(
            points_px[list(INNER_LIPS), :2], image, 1.1
        )
        lip = np.median(image[is_lip], 0).astype(np.float64) if is_lip.any() else white * _TONGUE
        dark = _darkest(face) if len(face) else white * _THROAT
        # Film that sees no red, and ink, show what is red as dark.
        light = white.mean()
        red = _RED_IN_GREY + (1 - _RED_IN_GREY) * colour_share(image)
        cheeks = red * _mix(_CHEEKS * light, _LIPS_AS_CHEEKS * lip, _OWN_LIPS)
        throat = _mix(_THROAT * light, _DARK * dark, _OWN_DARK)
        throat *= min(1.0, _DARKER_THROAT * cheeks.mean() / max(throat.mean(), 1.0))
        return cls(
            white,
            np.ones(3) if eyes is None else (eyes / eyes.mean()) ** _EYE_TINT,
            throat,
            cheeks,
            red * _mix(_TONGUE * light, _LIPS_AS_TONGUE * lip, _OWN_LIPS),
            _LINE_DARK * lip if is_open else _lip_line(image, lips),
        )


def estimate_white_point(image: Image, points_px: Floats) -> NDArray[np.float64]:
    """(3,) RGB in grey levels that a white object in the mouth's place would have.

    It is estimated from the skin around the lips; for dark skin, from the highlights of the face.

    Args:
        image: (height, width, 3) uint8 RGB. points_px: (478, 2 or more) landmarks.
    """
    face_mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(face_mask, np.round(points_px[list(FACE_OVAL), :2]).astype(np.int32), (1,))
    lips = points_px[list(OUTER_LIPS), :2]
    middle = lips.mean(0)
    skin_mask = np.zeros_like(face_mask)
    cv2.fillPoly(skin_mask, [np.round(middle + 1.5 * (lips - middle)).astype(np.int32)], (1,))
    cv2.fillPoly(skin_mask, [np.round(middle + 1.1 * (lips - middle)).astype(np.int32)], (0,))
    face, skin = image[face_mask > 0], image[skin_mask > 0]
    if not len(face) or not len(skin):
        return np.asarray(image.reshape(-1, 3).mean(0), np.float64)
    colour = np.median(skin, 0).astype(np.float64) + 1
    brightness = max(colour.mean(), _HIGHLIGHT * float(np.percentile(face.mean(1), 95)))
    tint = (colour / colour.mean()) ** _TINT
    return np.asarray(tint * brightness, np.float64)


def edge_width_px(image: Image, points_px: Floats) -> float:
    """Width of the sharpest edges of a face: what is drawn on it should be as soft.

    An edge's width is its height over its slope; 1.5 px in a sharp picture, more in an enlarged one.

    Args:
        image: (P, P, 3) uint8 RGB. points_px: (478, 2 or more) landmarks.
    """
    mask = inside(points_px[list(FACE_OVAL), :2], image, _FACE_SCALE)
    brightness = image.astype(np.float32).mean(-1)
    slopes, heights = (
        np.abs(np.roll(brightness, -reach, 0) - np.roll(brightness, reach, 0))[mask]
        for reach in (1, round(_EDGE_PX[1] / 2))
    )
    if not mask.any():
        return _EDGE_PX[0]
    slope, height = (float(np.percentile(values, _SHARPEST)) for values in (slopes, heights))
    return float(np.clip(2 * height / max(slope, 1e-3), *_EDGE_PX))


def _mix(rule: Floats, own: Floats, share: float) -> Floats:
    return rule + share * (own - rule)


def _darkest(pixels: Floats) -> Floats:
    brightness = pixels.mean(1)
    return np.asarray(np.median(pixels[brightness <= np.percentile(brightness, _DARKEST)], 0), np.float64)


def _eye_whites(image: Image, points_px: Floats) -> Floats | None:
    """(3,) in grey levels: the brightest parts of both eyes beside the irises; None if there are none."""
    mask = np.zeros(image.shape[:2], np.bool_)
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        mask |= inside(points_px[list(eye), :2], image) & ~inside(points_px[list(iris[1:]), :2], image, 1.2)
    pixels = image[mask].astype(np.float64)
    if not len(pixels):
        return None
    brightness = pixels.mean(1)
    return np.asarray(np.median(pixels[brightness >= np.percentile(brightness, _BRIGHTEST)], 0) + 1)


def _lip_line(image: Image, lips: LipContour) -> Floats:
    """(3,) usual colour of the darkest place across the line between closed lips."""
    first, last = _LINE_COLUMNS
    inner = (lips.s > first) & (lips.s < last)
    steps = np.linspace(-_LINE_SEARCH, _LINE_SEARCH, 9)[:, None] * lips.line.width_px
    t = (lips.gap_top + lips.gap_bottom)[inner] / 2 + steps
    positions = lips.line.to_pixels(np.broadcast_to(lips.s[inner], t.shape), t) - 0.5
    x, y = np.moveaxis(positions.astype(np.float32), -1, 0)
    colours = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
    darkest = colours.mean(-1).argmin(0)
    return np.asarray(np.median(colours[darkest, np.arange(t.shape[1])], 0))
