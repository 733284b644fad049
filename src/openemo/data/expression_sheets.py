"""Pictures of people in emotions, from the sheets of expressions of the package `openpeople`.

A sheet is a picture of 4 x 4 cells with one face each: the same person, light and camera, another
expression. So a pair of cells shows what skin does that no warp can show: folds, lines, cheeks that lift.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from openemo.arrays import Floats, Image
from openemo.behaviour.expression_shapes import EMOTIONS
from openemo.data.driven import warp_picture
from openemo.errors import TrainingError
from openemo.face.analyzer import Face, FaceAnalyzer
from openemo.face.crop import CropRegion
from openemo.face.landmarks import FACE_OVAL, STABLE, face_width_px, head_pose
from openemo.face.masks import fill_contour
from openemo.face.similarity import Similarity, fit_similarity
from openemo.face.turning import affine_matrix
from openemo.rendering.landmark_flow import face_flow
from openemo.video.images import read_image

__all__ = ["emotion_pictures", "sheet_paths"]

_SHEET: Final = "assets/emotions_sheet.jpg"
_CELLS: Final = 4  # along each side of a sheet; the first one is the neutral face
# In the order of `EMOTIONS`.
_CELLS_OF: Final = dict(zip(EMOTIONS, (1, 2, 3, 4, 5, 6, 8), strict=True))
_MAX_TURN_DEG: Final = 12.0  # from the neutral cell: a warp that turns a head would hide what the skin does
_TONE_WIDTH: Final = 0.25  # over the face's width; folds are finer
_FLOW_CELLS: Final = 64
_OVERSAMPLING: Final = 2  # before the shrinking, which would leave jags


def sheet_paths(folder: Path) -> list[Path]:
    """The sheet of each person in `openpeople/data/curated`. Raises TrainingError if there is none."""
    paths = sorted(folder.glob(f"*/{_SHEET}"))
    if not paths:
        raise TrainingError(
            f"no sheets of expressions in {folder}",
            expected=f"PERSON/{_SHEET}",
            fix="Install the package openpeople, and give its folder openpeople/data/curated",
        )
    return paths


def emotion_pictures(
    path: Path, analyzer: FaceAnalyzer, *, size_px: int, crop_scale: float
) -> dict[str, tuple[Image, Floats]]:
    """Crops (S, S, 3) and landmarks (478, 2) in px, by "neutral" and `EMOTIONS`.

    All are in the crop and the tone of the neutral face, aligned by a similarity of the stable landmarks.
    Heads that turn are left out.
    """
    sheet = read_image(path)
    neutral = _face(sheet, 0, analyzer)
    region = CropRegion.around(neutral, crop_scale)
    x0, y0, x1, _ = region.box_px
    scale = size_px / (x1 - x0)
    home = Similarity(np.eye(2) * scale, -scale * np.array([x0, y0]))(neutral.points_px[:, :2])
    found: dict[str, tuple[Image, Floats]] = {}
    for name, cell in {"neutral": 0, **_CELLS_OF}.items():
        face = _face(sheet, cell, analyzer)
        if _turn_deg(face, neutral) > _MAX_TURN_DEG:
            continue
        stable = list(STABLE)
        fit = fit_similarity(face.points_px[stable, :2], home[stable])
        picture, points = _resample(sheet, fit, size_px), fit(face.points_px[:, :2].astype(np.float64))
        if cell:
            picture = _in_tone(picture, points, *found["neutral"])
        found[name] = (picture, points)
    return found


def _face(sheet: Image, cell: int, analyzer: FaceAnalyzer) -> Face:
    """The largest face of a cell, in pixels of the sheet. Raises TrainingError if there is none."""
    height, width = (side // _CELLS for side in sheet.shape[:2])
    y, x = (index * side for index, side in zip(divmod(cell, _CELLS), (height, width), strict=True))
    found = analyzer.find_all(np.ascontiguousarray(sheet[y : y + height, x : x + width]))
    if not found:
        raise TrainingError(
            f"no face in cell {cell} of a sheet of expressions", expected="4 x 4 cells with one face each"
        )
    return Face.of(found[0].points_px + np.array([x, y, 0], np.float32), found[0].score)


def _turn_deg(face: Face, other: Face) -> float:
    here, there = head_pose(face.points_px), head_pose(other.points_px)
    return max(abs(here.yaw_deg - there.yaw_deg), abs(here.pitch_deg - there.pitch_deg))


def _resample(sheet: Image, fit: Similarity, size_px: int) -> Image:
    """The square of `size_px` that `fit` maps the sheet into."""
    matrix = affine_matrix(_OVERSAMPLING * fit.matrix, _OVERSAMPLING * fit.shift)
    size = (_OVERSAMPLING * size_px,) * 2
    large = cv2.warpAffine(sheet, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(large, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)


def _in_tone(picture: Image, points: Floats, neutral: Image, home: Floats) -> Image:
    """The picture in the light of the neutral one, per channel, as far as it is wider than any fold."""
    side = picture.shape[0]
    expected = warp_picture(neutral, face_flow(home / side, points / side, _FLOW_CELLS))
    face = fill_contour(points[list(FACE_OVAL)], (side, side)).astype(np.float32) / 255
    sigma = _TONE_WIDTH * face_width_px(points)
    ratio = np.log((expected + 8.0) / (picture + 8.0)) * face[..., None]
    known = cv2.GaussianBlur(face, (0, 0), sigma)[..., None] + 0.02
    gain = np.exp(cv2.GaussianBlur(ratio, (0, 0), sigma) / known)
    return np.asarray(np.clip((picture + 8.0) * gain - 8.0, 0, 255).round(), np.uint8)
