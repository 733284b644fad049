"""How a picture is made: of flat colours, of lines, of stone, or as a photo is; measured in the face.

Each measure is 0 for photos and rises between two limits, so that nothing hangs on a single pixel. The limits
come from 1,036 portraits, nearly all of them photos, and from drawings and busts that scripts made.

Shapes: P side of the portrait in px, N pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS, face_width_px
from openemo.rendering.tone import tone_distance

__all__ = ["PHOTO", "PictureManner", "face_pixels", "inside"]

_FACE_SCALE: Final = 0.95  # of the oval that is measured: no hair, no background
_MIN_SPAN: Final = 30.0  # grey levels; a face with less of a range shows nothing of how it was made
# Lengths over the face's width.
_WINDOW: Final = 0.03  # side of the neighbourhood in which a flat colour is constant
_STROKE_SIGMA: Final = 0.02  # detail that is finer is strokes or noise, not shading
# Shares of the range of the face's brightness.
_SAME_COLOUR: Final = 0.0125  # largest difference within a flat colour
_ENDS: Final = 0.2  # as near as this to ink or paper counts as either
_IRIS: Final = 0.7  # of its radius, so that no lid is measured
_CLIPPED: Final = (2, 253)  # grey levels beyond these are flat where a photo is overexposed
# Limits from 0 to 1.
_FLAT: Final = (
    0.12,
    0.2,
)  # of the face's share of flat colour: photos at most 0.09, shaded cartoons from 0.24
# Of the product of two shares: pixels near ink or paper, contrast of fine detail. Photos of one tone and
# prints of them have at most 0.105, drawings and engravings 0.11 to 0.34.
_LINES: Final = (0.105, 0.135)
_SINGLE_TONE: Final = (0.035, 0.02)  # `tone_distance` of ink on paper
_ONE_STONE: Final = (0.016, 0.01)  # `tone_distance` of a face in a colour picture; living people from 0.018
_COLOURED: Final = (0.03, 0.06)  # `tone_distance` of the whole picture beyond that of the face
_BLANK_EYES: Final = (0.1, 0.05)  # how much darker irises are than the face; people in grey photos from 0.11


@dataclass(frozen=True, slots=True)
class PictureManner:
    """Shares in [0, 1]; all are 0 in a photo of a person.

    Attributes:
        flat: of flat colours, as a cartoon or a poster is.
        lines: of ink on paper, as an engraving or a pencil drawing is.
        stone: a face of one material without painted eyes.
    """

    flat: float = 0.0
    lines: float = 0.0
    stone: float = 0.0

    @property
    def drawn(self) -> float:
        """Of either way of drawing."""
        return max(self.flat, self.lines)

    @property
    def photographic(self) -> float:
        """What is left for shadows and lights of a photo: 1 in a photo."""
        return 1 - max(self.drawn, self.stone)

    @classmethod
    def of(cls, image: Image, points_px: Floats) -> PictureManner:
        """Measures a portrait.

        Args:
            image: (P, P, 3) uint8 RGB.
            points_px: (478, 2 or more) landmarks.
        """
        mask = _face_mask(image, points_px)
        brightness = image.astype(np.float32).mean(-1)
        low, high = np.percentile(brightness[mask] if mask.any() else [0], [3, 97])
        if high - low < _MIN_SPAN:
            return cls()
        span, width_px = float(high - low), max(face_width_px(points_px), 1.0)
        flat = _ramp(_flat_share(image, mask, span, width_px), _FLAT)
        tone = tone_distance(image[mask])
        lines = _ramp(_line_share(brightness, mask, (low, span), width_px), _LINES) * _ramp(
            tone, _SINGLE_TONE
        )
        irises = (float(np.median(brightness[mask])) - _iris_brightness(brightness, points_px)) / span
        is_stone = max(
            _ramp(irises, _BLANK_EYES), _ramp(tone_distance(image.reshape(-1, 3)) - tone, _COLOURED)
        )
        return cls(flat, lines, is_stone * _ramp(tone, _ONE_STONE) * (1 - max(flat, lines)))


PHOTO: Final = PictureManner()


def face_pixels(image: Image, points_px: Floats) -> Image:
    """(N, 3) colours of the face, without hair and background; all if the face is outside."""
    pixels = image[_face_mask(image, points_px)]
    return pixels if len(pixels) else image.reshape(-1, 3)


def inside(contour_px: Floats, image: NDArray[Any], scale: float = 1.0) -> NDArray[np.bool_]:
    """(P, P): the pixels of the image within a contour (n, 2), scaled about its middle."""
    middle = contour_px.mean(0)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(middle + scale * (contour_px - middle)).astype(np.int32)], (1,))
    return mask > 0


def _face_mask(image: Image, points_px: Floats) -> NDArray[np.bool_]:
    return inside(points_px[list(FACE_OVAL), :2], image, _FACE_SCALE)


def _ramp(value: float, limits: tuple[float, float]) -> float:
    """0 at the first limit, 1 at the second, linear between."""
    return float(np.clip((value - limits[0]) / (limits[1] - limits[0]), 0, 1))


def _flat_share(image: Image, mask: NDArray[np.bool_], span: float, width_px: float) -> float:
    """Share of the face around which the colour is constant."""
    window = np.ones((max(3, round(_WINDOW * width_px) | 1),) * 2, np.uint8)
    spread = (cv2.dilate(image, window).astype(np.int16) - cv2.erode(image, window)).max(-1)
    is_clipped = (image.min(-1) >= _CLIPPED[1]) | (image.max(-1) <= _CLIPPED[0])
    return float(((spread <= _SAME_COLOUR * span) & ~is_clipped)[mask].mean())


def _line_share(
    brightness: NDArray[np.float32],
    mask: NDArray[np.bool_],
    low_and_span: tuple[float, float],
    width_px: float,
) -> float:
    low, span = low_and_span
    fine = brightness - cv2.GaussianBlur(brightness, (0, 0), _STROKE_SIGMA * width_px)
    level = (brightness[mask] - low) / span
    return float(((level < _ENDS) | (level > 1 - _ENDS)).mean() * fine[mask].std() / span)


def _iris_brightness(brightness: NDArray[np.float32], points_px: Floats) -> float:
    """Median of the parts of both irises that the lids leave free; 0 where nothing is free."""
    y, x = np.indices(brightness.shape) + 0.5
    free = np.zeros(brightness.shape, np.bool_)
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        middle, *rim = points_px[list(iris), :2]
        radius = _IRIS * float(np.linalg.norm(np.stack(rim) - middle, axis=1).mean())
        free |= (np.hypot(x - middle[0], y - middle[1]) < radius) & inside(
            points_px[list(eye), :2], brightness
        )
    return float(np.median(brightness[free])) if free.any() else 0.0
