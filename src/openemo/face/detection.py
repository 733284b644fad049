"""From the full-range detector's raw output to boxes: anchors, decoding, suppression. No network here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["INPUT_PX", "NUM_ANCHORS", "FaceBox", "anchors", "decode", "overlap", "suppress"]

Floats = NDArray[np.floating]

INPUT_PX: Final = 192
_STRIDE_PX: Final = 4
NUM_ANCHORS: Final = (INPUT_PX // _STRIDE_PX) ** 2


@dataclass(frozen=True, slots=True)
class FaceBox:
    """One detected face.

    box_px: (4,) x0, y0, x1, y1, may leave the image: brows to chin, ear to ear.
    keypoints_px: (6, 2) right eye, left eye, nose tip, mouth, right ear, left ear (the person's own sides).
    score: detector confidence in (0, 1).
    """

    box_px: Floats
    keypoints_px: Floats
    score: float

    @property
    def side_px(self) -> float:
        """Longer side of the box, pixels."""
        return float(max(self.box_px[2] - self.box_px[0], self.box_px[3] - self.box_px[1]))


def anchors() -> NDArray[np.float32]:
    """(2304, 2) anchor centres x, y in [0, 1]: one per cell of a 48x48 grid, row by row, all of size 1."""
    cells = INPUT_PX // _STRIDE_PX
    y, x = np.mgrid[0:cells, 0:cells]
    return ((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells).astype(np.float32)


def decode(
    regressors: Floats, logits: Floats, centres: Floats, origin_px: Floats, side_px: float, min_score: float
) -> list[FaceBox]:
    """Boxes of the cells whose score reaches `min_score`, in the coordinates of the whole image.

    Args:
        regressors: (2304, 16) box centre, box size and six keypoints in input pixels, relative to the anchor.
        logits: (2304,) score before the sigmoid.
        centres: (2304, 2) from `anchors`.
        origin_px: (2,) where the detector's square input starts in the image.
        side_px: the square's side in the image.
    """
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0)))
    boxes = []
    for cell in np.flatnonzero(scores >= min_score):
        values = regressors[cell].reshape(8, 2) / INPUT_PX
        centre, size = values[0] + centres[cell], values[1]
        corners = np.concatenate([centre - size / 2, centre + size / 2]) * side_px + np.tile(origin_px, 2)
        keypoints = (values[2:] + centres[cell]) * side_px + origin_px
        boxes.append(FaceBox(corners, keypoints, float(scores[cell])))
    return boxes


def overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    inter = float(np.prod(np.maximum(sides, 0.0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inter
    return inter / union if union > 0 else 0.0


def suppress(boxes: list[FaceBox], min_overlap: float = 0.3) -> list[FaceBox]:
    """Non-maximum suppression with averaging: overlapping boxes merge by score, best first."""
    rest = sorted(boxes, key=lambda box: -box.score)
    merged = []
    while rest:
        best = rest[0]
        group = [box for box in rest if box is best or overlap(best.box_px, box.box_px) > min_overlap]
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
