"""Post-processing of the face detector: from the raw output of the full-range network to boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.face.square_sampling import rotation_matrix
from openemo.grids import centre_array

__all__ = [
    "DETECTOR_INPUT_PX",
    "NUM_ANCHORS",
    "FaceBox",
    "anchor_centres",
    "decode_boxes",
    "intersection_over_union",
    "weighted_nms",
]


DETECTOR_INPUT_PX: Final = 192
_STRIDE_PX: Final = 4
_MIN_OVERLAP: Final = 0.3  # intersection over union of boxes that show the same face
NUM_ANCHORS: Final = (DETECTOR_INPUT_PX // _STRIDE_PX) ** 2


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One detected face.

    Attributes:
        box_px: (4,) x0, y0, x1, y1: brows to chin, ear to ear; may leave the image.
        keypoints_px: (6, 2) right eye, left eye, nose tip, mouth, right ear, left ear (the person's own
            sides).
        score: detector confidence in (0, 1).
    """

    box_px: Floats
    keypoints_px: Floats
    score: float

    @property
    def side_px(self) -> float:
        """Longer side of the box, pixels."""
        return float(max(self.box_px[2] - self.box_px[0], self.box_px[3] - self.box_px[1]))

    def turned(self, centre_px: Floats, angle: float) -> FaceBox:
        """The same face, turned around a point; the box has its new centre and its old size.

        Args:
            angle: radians, clockwise.
        """
        rotation = rotation_matrix(angle)
        low, high = self.box_px[:2], self.box_px[2:]
        shift = rotation @ ((low + high) / 2 - centre_px) + centre_px - (low + high) / 2
        keypoints = (self.keypoints_px - centre_px) @ rotation.T + centre_px
        return FaceBox(self.box_px + np.tile(shift, 2), keypoints, self.score)


def anchor_centres() -> NDArray[np.float32]:
    """(2304, 2) x, y in [0, 1]: one anchor per cell of a 48x48 grid, row by row; all have size 1."""
    cells = DETECTOR_INPUT_PX // _STRIDE_PX
    grid = np.stack(np.meshgrid(centre_array(cells), centre_array(cells)), -1)
    return grid.reshape(-1, 2).astype(np.float32)


def decode_boxes(
    regressors: Floats, logits: Floats, centres: Floats, origin_px: Floats, side_px: float, min_score: float
) -> list[FaceBox]:
    """Boxes of the cells whose score reaches `min_score`, in pixels of the whole image.

    Args:
        regressors: (2304, 16) box centre, box size and six keypoints in input pixels, relative to the anchor.
        logits: (2304,) scores before the sigmoid.
        centres: (2304, 2) from `anchor_centres`.
        origin_px: (2,) where the detector's square input starts in the image.
        side_px: the square's side in the image.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0)))
    boxes = []
    for cell in np.flatnonzero(scores >= min_score):
        values = regressors[cell].reshape(8, 2) / DETECTOR_INPUT_PX
        centre, size = values[0] + centres[cell], values[1]
        corners = np.concatenate([centre - size / 2, centre + size / 2]) * side_px + np.tile(origin_px, 2)
        keypoints = (values[2:] + centres[cell]) * side_px + origin_px
        boxes.append(FaceBox(corners, keypoints, float(scores[cell])))
    return boxes


def intersection_over_union(a: Floats, b: Floats) -> float:
    """Of two boxes (x0, y0, x1, y1); 0 for empty boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(np.maximum(sides, 0.0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inter
    return inter / union if union > 0 else 0.0


def weighted_nms(boxes: list[FaceBox]) -> list[FaceBox]:
    """Non-maximum suppression that averages overlapping boxes, weighted by their scores; best first."""
    rest = sorted(boxes, key=lambda box: -box.score)
    merged = []
    while rest:
        best = rest[0]
        group = [
            box
            for box in rest
            if box is best or intersection_over_union(best.box_px, box.box_px) > _MIN_OVERLAP
        ]
        rest = [box for box in rest if all(box is not member for member in group)]
        weights = np.array([box.score for box in group])
        merged.append(
            FaceBox(
                np.average([box.box_px for box in group], axis=0, weights=weights),
                np.average([box.keypoints_px for box in group], axis=0, weights=weights),
                best.score,
            )
        )
    return merged
