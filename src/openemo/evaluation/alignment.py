"""Faces of different pictures brought to one place, one size and upright, so that their pixels compare."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.face.geometry import FACE_OVAL, STABLE, face_width_px
from openemo.face.sampling import sample_square
from openemo.face.similarity import Similarity, fit_similarity

__all__ = ["CHIP_PX", "FACE_PX", "face_chip", "face_pair", "onto"]

Image = NDArray[np.uint8]
Floats = NDArray[np.floating]

CHIP_PX: Final = 150
# Where dlib puts the corners of the eyes and the base of the nose, in a square of side 1 that is then padded
# by a quarter on each side, by the number of the mesh's landmark.
_TEMPLATE: Final = {
    263: (0.8595674595992, 0.2134981538014),
    362: (0.6460604764104, 0.2289674387677),
    33: (0.1205750620789, 0.2137274526848),
    133: (0.3340850613712, 0.2290642403242),
    2: (0.4901123135679, 0.6277975316475),
}
_PADDING: Final = 0.25
FACE_PX: Final = 96  # width of the face in a pair
PAIR_PX: Final = 160


def face_chip(image: Image, points_px: Floats) -> Image:
    """The face as dlib's recognition network learned to see it, (150, 150, 3): a fit of five landmarks."""
    target = (np.array(list(_TEMPLATE.values())) + _PADDING) / (1 + 2 * _PADDING) * CHIP_PX
    source = np.asarray(points_px, np.float64)[list(_TEMPLATE), :2]
    return _square(image, fit_similarity(source, target), CHIP_PX)


def face_pair(made: Image, made_px: Floats, real: Image, real_px: Floats) -> tuple[Image, Image]:
    """The two faces, (160, 160, 3) each, the made one laid over the real one by points that speech leaves
    alone.

    Both are brought to a face 96 px wide, so that neither's resolution counts. Turns out of the picture's
    plane are not undone.
    """
    points = np.asarray(real_px, np.float64)[:, :2]
    scale = FACE_PX / face_width_px(points)
    centre = points[list(FACE_OVAL)].mean(axis=0)
    placed = Similarity(np.eye(2) * scale, np.full(2, PAIR_PX / 2) - scale * centre)
    laid = fit_similarity(np.asarray(made_px, np.float64)[list(STABLE), :2], placed(points[list(STABLE)]))
    return _square(made, laid, PAIR_PX), _square(real, placed, PAIR_PX)


def onto(source_px: Floats, target_px: Floats) -> Similarity:
    """The similarity that lays the first face's stable landmarks over the second's."""
    stable = list(STABLE)
    return fit_similarity(
        np.asarray(source_px, np.float64)[stable, :2], np.asarray(target_px, np.float64)[stable, :2]
    )


def _square(image: Image, similarity: Similarity, size_px: int) -> Image:
    """What `similarity` maps into the square [0, size_px)^2; the border is repeated outwards."""
    matrix = similarity.matrix
    centre = np.linalg.solve(matrix, np.full(2, size_px / 2) - similarity.shift)
    side_px = size_px / float(np.hypot(matrix[0, 0], matrix[1, 0]))
    angle = -float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return sample_square(image, centre, side_px, angle, size_px, cv2.BORDER_REPLICATE)
