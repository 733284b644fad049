"""Artefacts: frames without a face, and skin or writing where the portrait has none.

The package has no network for hands or text. These measures find regions that look like skin, or like a line
of writing, where the portrait looks different. `docs/metrics.md` has the measured detection rates.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.errors import FaceError
from openemo.evaluation.metrics.frame_statistics import ratio
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE, face_width_px

__all__ = ["ArtefactDetector", "score_artefacts"]

Mask = NDArray[np.bool_]

_CHANGED_GREY: Final = 20  # difference in any channel that coding and light do not make
_MIN_SKIN_AREA: Final = 0.05  # of the face area
_SKIN_DISTANCE: Final = 2.5  # Mahalanobis, in the plane of Lab's a and b
_MIN_COLOUR_VARIANCE: Final = 4.0
_FACE_GROWTH: Final = 0.35  # of the face width: hair, ears and neck move with the head
_SLACK: Final = 0.08  # of the face width: the portrait's skin may move this far
_TEXT_CONTRAST: Final = 40
_TEXT_HEIGHTS: Final = (0.02, 0.15)  # of the picture height
_MIN_GLYPHS: Final = 5


def score_artefacts(made: Observation, portrait: Observation) -> dict[str, float]:
    """Shares of frames, 0 to 1. Portrait and frames must show the same view; NaN if their sizes differ.

    no_face_share: no face is found.
    new_skin_share: a region of skin colour, at least 0.05 of the face area, well outside face and neck, where
        the portrait has another colour: a hand, an arm, a second face. It cannot be seen on a background of
        skin colour. NaN for grey pictures.
    new_writing_share: five or more small contrasting strokes in a line where the portrait has none: writing,
        but also new stripes or a fence.

    Raises:
        FaceError: the portrait's first frame has no face.
    """
    if not portrait.has_face[0]:
        raise FaceError("no face found in the portrait", expected="a portrait to compare the frames with")
    shares = {
        "no_face_share": float(1 - made.has_face.mean()),
        "new_skin_share": float("nan"),
        "new_writing_share": float("nan"),
    }
    if made.frames[0].shape == portrait.frames[0].shape:
        known = ArtefactDetector(portrait.frames[0], portrait.points_px[0])
        writing = sum(known.has_new_writing(frame) for frame in made.frames)
        shares["new_writing_share"] = writing / len(made)
        if known.has_colour:
            seen = np.flatnonzero(made.has_face)
            skin = sum(known.has_new_skin(made.frames[i], made.points_px[i]) for i in seen)
            shares["new_skin_share"] = ratio(skin, len(seen))
    return shares


class ArtefactDetector:
    """Compares frames with a portrait: its pixels, its skin colour, and where that colour is."""

    def __init__(self, image: Image, points_px: Floats) -> None:
        self._image = image
        self._width_px = face_width_px(points_px)
        shape = image.shape[:2]
        face = _polygon(points_px, FACE_OVAL, shape)
        for part in (LEFT_EYE, RIGHT_EYE, OUTER_LIPS, INNER_LIPS):
            face &= ~_polygon(points_px, part, shape)
        self._face_area = int(face.sum())
        colours = _chroma(image)[face]
        # Brows, nostrils and glare are not skin, so only the colours near the median count.
        self._mean = np.median(colours, axis=0)
        near = np.linalg.norm(colours - self._mean, axis=1)
        core = colours[near <= np.percentile(near, 80)]
        self._inverse = np.linalg.inv(np.cov(core.T) + np.eye(2) * _MIN_COLOUR_VARIANCE)
        light = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)[..., 0][face]
        self._light = np.percentile(light, 5) * 0.7, np.percentile(light, 95) * 1.3
        self.has_colour = bool(np.linalg.norm(self._mean - 128) > 4)
        slack = 2 * round(_SLACK * self._width_px) + 1
        self._skin = _dilate(self.skin(image), slack)

    def skin(self, image: Image) -> Mask:
        """(height, width) whether a pixel has the skin colour of the portrait."""
        a, b = np.moveaxis(_chroma(image) - np.float32(self._mean), -1, 0)
        (aa, ab), (_, bb) = self._inverse.astype(np.float32)
        distance = aa * a * a + 2 * ab * a * b + bb * b * b
        light = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)[..., 0]
        lit = (light > self._light[0]) & (light < self._light[1])
        return np.asarray((distance < _SKIN_DISTANCE**2) & lit, np.bool_)

    def changed(self, frame: Image) -> Mask:
        """(height, width) whether a pixel differs from the portrait's."""
        alike = cv2.inRange(cv2.absdiff(frame, self._image), (0, 0, 0), (_CHANGED_GREY,) * 3)
        return np.asarray(np.asarray(alike) == 0, np.bool_)

    def has_new_skin(self, frame: Image, points_px: Floats) -> bool:
        """Whether there is new skin outside the frame's own face, whose landmarks are `points_px`."""
        new = self.skin(frame) & ~self._skin & self.changed(frame)
        new &= ~_polygon(points_px, FACE_OVAL, frame.shape[:2], round(_FACE_GROWTH * self._width_px))
        opened = cv2.morphologyEx(new.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        _, _, facts, _ = cv2.connectedComponentsWithStats(opened)
        return bool((facts[1:, cv2.CC_STAT_AREA] >= _MIN_SKIN_AREA * self._face_area).any())

    def has_new_writing(self, frame: Image) -> bool:
        """Whether there are new strokes of letter height in a line, light on dark or dark on light."""
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        stroke = max(3, round(frame.shape[0] * _TEXT_HEIGHTS[1] / 3)) | 1
        kernel = np.ones((stroke, stroke), np.uint8)
        new = _dilate(self.changed(frame), 3)
        for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            strokes = np.asarray(cv2.morphologyEx(grey, operation, kernel)) > _TEXT_CONTRAST
            if _has_line((strokes & new).astype(np.uint8)):
                return True
        return False


def _has_line(strokes: NDArray[np.uint8]) -> bool:
    """Whether five or more pieces of letter size stand beside each other at one height."""
    height = strokes.shape[0]
    _, _, facts, centres = cv2.connectedComponentsWithStats(strokes)
    tall, wide = facts[1:, cv2.CC_STAT_HEIGHT], facts[1:, cv2.CC_STAT_WIDTH]
    fits = (tall >= _TEXT_HEIGHTS[0] * height) & (tall <= _TEXT_HEIGHTS[1] * height) & (wide <= 2 * tall)
    tall, centres = tall[fits], centres[1:][fits]
    order = np.argsort(centres[:, 0])
    tall, centres = tall[order], centres[order]
    for size, (x, y) in zip(tall, centres, strict=True):
        alike = (np.abs(centres[:, 1] - y) < 0.4 * size) & (tall > 0.5 * size) & (tall < 2 * size)
        line = centres[alike & (centres[:, 0] >= x), 0]
        # Letters are about as far apart as they are high. A wider gap ends the line.
        gaps = np.flatnonzero(np.diff(line) > 2 * size)
        if (gaps[0] + 1 if len(gaps) else len(line)) >= _MIN_GLYPHS:
            return True
    return False


def _polygon(points_px: Floats, indices: tuple[int, ...], shape: tuple[int, ...], grow_px: int = 0) -> Mask:
    """(height, width) whether a pixel is inside the outline of these landmarks, grown by `grow_px`."""
    canvas = np.zeros(shape, np.uint8)
    corners = np.round(np.asarray(points_px)[list(indices), :2]).astype(np.int32)
    cv2.fillPoly(canvas, [corners], (1,))
    if grow_px:
        cv2.polylines(canvas, [corners], True, (1,), 2 * grow_px)
    return canvas.astype(np.bool_)


def _dilate(mask: Mask, size_px: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size_px, size_px))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel), np.bool_)


def _chroma(image: Image) -> NDArray[np.float32]:
    """(height, width, 2) a and b of 8-bit Lab, 128 for grey. Smoothed, because coding adds colour noise."""
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (5, 5), 0), cv2.COLOR_RGB2Lab)
    return np.asarray(lab[..., 1:], np.float32)
