"""Aligns faces: one position, one size, upright, so that pixels of two pictures can be compared."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, STABLE, face_width_px
from openemo.face.similarity import Similarity, fit_similarity
from openemo.face.square_sampling import sample_square

__all__ = ["face_chip", "face_pair", "onto"]


_CHIP_PX: Final = 150
# Where dlib puts the corners of the eyes and the base of the nose, by number of the mesh landmark. The square
# has side 1, and is then padded by a quarter on each side.
_TEMPLATE: Final = {
    263: (0.8595674595992, 0.2134981538014),
    362: (0.6460604764104, 0.2289674387677),
    33: (0.1205750620789, 0.2137274526848),
    133: (0.3340850613712, 0.2290642403242),
    2: (0.4901123135679, 0.6277975316475),
}
_PADDING: Final = 0.25
_FACE_PX: Final = 96  # width of the face in a pair
_PAIR_PX: Final = 160


def face_chip(image: Image, points_px: Floats) -> Image:
    """The face (150, 150, 3) as dlib's recognition network expects it, by a fit of five landmarks."""
    target = (np.array(list(_TEMPLATE.values())) + _PADDING) / (1 + 2 * _PADDING) * _CHIP_PX
    source = np.asarray(points_px, np.float64)[list(_TEMPLATE), :2]
    return _square(image, fit_similarity(source, target), _CHIP_PX)


def face_pair(made: Image, made_px: Floats, real: Image, real_px: Floats) -> tuple[Image, Image]:
    """The two faces (160, 160, 3), the made one aligned with the real one.

    The fit uses points that speech does not move. Both are scaled to a face 96 px wide, so that their
    resolution does not count. Turns out of the picture plane are not undone.
    """
    points = np.asarray(real_px, np.float64)[:, :2]
    scale = _FACE_PX / face_width_px(points)
    centre = points[list(FACE_OVAL)].mean(axis=0)
    placed = Similarity(np.eye(2) * scale, np.full(2, _PAIR_PX / 2) - scale * centre)
    aligned = fit_similarity(np.asarray(made_px, np.float64)[list(STABLE), :2], placed(points[list(STABLE)]))
    return _square(made, aligned, _PAIR_PX), _square(real, placed, _PAIR_PX)


def onto(source_px: Floats, target_px: Floats) -> Similarity:
    """The similarity that maps the first face's stable landmarks to the second's."""
    stable = list(STABLE)
    return fit_similarity(
        np.asarray(source_px, np.float64)[stable, :2], np.asarray(target_px, np.float64)[stable, :2]
    )


def _square(image: Image, similarity: Similarity, size_px: int) -> Image:
    """The pixels that `similarity` maps into the square [0, size_px)^2. The border is repeated outwards."""
    matrix = similarity.matrix
    centre = np.linalg.solve(matrix, np.full(2, size_px / 2) - similarity.shift)
    side_px = size_px / float(np.hypot(matrix[0, 0], matrix[1, 0]))
    angle = -float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return sample_square(image, centre, side_px, angle, size_px, cv2.BORDER_REPLICATE)
