"""Makes `assets/folds.npz`: how skin grows lighter and darker in emotions, the mean over people.

    python -m openemo.data.mean_folds FACE_WEIGHTS SHEETS OUTPUT.npz

SHEETS is the folder `openpeople/data/curated` of the package openpeople. A fold is what the picture of an
expression has and the warped neutral picture lacks, as a ratio of brightness (Liu, Shan, Zhang 2001). Means
over nine people predict the tenth: r is 0.6 at the folds beside a smile and between the brows of a frown, 0.3
to 0.5 on the forehead.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.behaviour.expression_shapes import EMOTIONS
from openemo.data.driven import warp_picture
from openemo.data.expression_sheets import emotion_pictures, sheet_paths
from openemo.data.mean_expressions import mirrored_points
from openemo.face.analyzer import FaceAnalyzer
from openemo.face.landmarks import BROWS, FACE_OVAL, LEFT_EYE, NOSE, OUTER_LIPS, RIGHT_EYE
from openemo.face.masks import fill_contour
from openemo.files import whole_file
from openemo.rendering.landmark_flow import face_flow

__all__ = ["mean_folds"]

_SIDE_PX, _CROP_SCALE, _CELLS = 256, 1.6, 64
_FINE, _WIDE = 1.0, 6.0  # px: of pores, and of what is light rather than a fold
_DARK: Final = 12.0  # grey levels, below which a ratio is noise
# The mean of folds that lie a little apart is fainter than each of them. Below the nose less: while somebody
# speaks, `openemo.data.mean_expressions` moves that part less, too.
_UPPER, _LOWER = 1.3, 0.8
_SOFT, _EDGE = 3.0, 8.0  # px: of the limits of brows, eyes, lips and nose; of the face
_STORED_PX: Final = 160
People = list[dict[str, tuple[Image, Floats]]]


def mean_folds(people: People) -> dict[str, NDArray[np.float16]]:
    """The arrays that `openemo.rendering.skin_folds` reads.

    Args:
        people: of each one the crops (256, 256, 3) and landmarks (478, 2) in px, by "neutral" and `EMOTIONS`.
    """
    home = np.mean([pictures["neutral"][1] for pictures in people], 0)
    home = (home + _across(home)) / 2
    folds = np.stack(
        [np.mean([_fold(one, name, home) for one in people if name in one], 0) for name in EMOTIONS]
    )
    folds = (folds + folds[..., ::-1]) / 2 * _skin(home) * _emphasis(home)
    small = np.stack([cv2.resize(fold, (_STORED_PX,) * 2, interpolation=cv2.INTER_AREA) for fold in folds])
    return {"folds": small.astype(np.float16), "points": (home / _SIDE_PX).astype(np.float16)}


def _fold(pictures: dict[str, tuple[Image, Floats]], emotion: str, home: Floats) -> NDArray[np.float32]:
    """(256, 256) logarithm of the brightness over that of the warped neutral picture, in the mean face."""
    (neutral, start), (picture, points) = pictures["neutral"], pictures[emotion]
    warped = warp_picture(neutral, _flow(start, points))
    change = (_detail(picture) - _detail(warped)) * _skin(points)
    flow = cv2.resize(_flow(points, home).transpose(1, 2, 0), (_SIDE_PX,) * 2) * _SIDE_PX
    x, y = np.meshgrid(*[np.arange(_SIDE_PX, dtype=np.float32)] * 2)
    return np.asarray(cv2.remap(change, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR), np.float32)


def _flow(reference: Floats, target: Floats) -> NDArray[np.float32]:
    return face_flow(reference / _SIDE_PX, target / _SIDE_PX, _CELLS)


def _detail(picture: Image) -> NDArray[np.float32]:
    brightness = np.log(picture.astype(np.float32).mean(-1) + _DARK)
    fine, wide = (cv2.GaussianBlur(brightness, (0, 0), sigma) for sigma in (_FINE, _WIDE))
    return np.asarray(fine - wide, np.float32)


def _skin(points: Floats) -> NDArray[np.float32]:
    """(256, 256) 1 on skin, 0 at the features that other parts draw, and towards the face's outline."""
    size = (_SIDE_PX, _SIDE_PX)
    face = cv2.erode(fill_contour(points[list(FACE_OVAL)], size), np.ones((13, 13), np.uint8))
    holes = np.zeros(size, np.uint8)
    for part in (BROWS[:10], BROWS[10:], RIGHT_EYE, LEFT_EYE, OUTER_LIPS, NOSE[5:]):
        hull = cv2.convexHull(points[list(part)].astype(np.float32))[:, 0]
        holes = np.maximum(holes, fill_contour(hull, size))
    holes = cv2.dilate(holes, np.ones((5, 5), np.uint8))
    inside = cv2.GaussianBlur(face.astype(np.float32) / 255, (0, 0), _EDGE)
    return np.asarray(
        inside * (1 - cv2.GaussianBlur(holes.astype(np.float32) / 255, (0, 0), _SOFT)), np.float32
    )


def _emphasis(points: Floats) -> NDArray[np.float32]:
    """(256, 1): `_UPPER` down to the lower lids, `_LOWER` from the base of the nose."""
    start, end = points[[145, 374], 1].mean(), points[2, 1]
    heights = np.interp(np.arange(_SIDE_PX) + 0.5, [start, end], [_UPPER, _LOWER])
    return np.asarray(heights[:, None], np.float32)


def _across(points: Floats) -> Floats:
    """The mirrored face, with the indices of this one."""
    mirror = mirrored_points(np.concatenate([points, np.zeros((len(points), 1))], 1))
    return np.asarray(points[mirror] * [-1, 1] + [_SIDE_PX, 0])


def main(face_weights: Path, sheets: Path, output: Path) -> None:
    """Reads the sheets and writes the file."""
    analyzer = FaceAnalyzer.from_pretrained(face_weights)
    people = [
        emotion_pictures(path, analyzer, size_px=_SIDE_PX, crop_scale=_CROP_SCALE)
        for path in sheet_paths(sheets)
    ]
    with whole_file(output) as file:
        np.savez(file, allow_pickle=False, **mean_folds(people))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
