"""How fast torso, hair and face move in the picture, by optical flow: the first two have no landmarks."""

from __future__ import annotations

from collections import deque
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Floats, Image
from openemo.evaluation.metrics.frame_statistics import mean
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import FACE_OVAL, face_width_px

__all__ = ["REGIONS", "RegionMotion", "score_region_motion"]

Mask = NDArray[np.bool_]

REGIONS: Final = ("torso", "hair", "face")
_FACE_PX: Final = 64  # width of the face that the flow is computed at
_STEP_S: Final = (
    0.2  # between the two pictures of a flow: over one frame, noise would count five times as much
)
# In face widths. The torso starts where a square around the face ends; above it neck and jaw move along.
_TORSO_TOP, _TORSO_BOTTOM, _TORSO_WIDEST, _LEAST_SEEN = 0.35, 1.5, 1.1, 0.05
_HAIR_NEAR, _HAIR_FAR, _HAIR_HALF = 0.05, 0.3, 0.35
_VIEW: Final = (1.6, 1.4, 2.6)  # of the face's middle that is looked at: to the sides, up, down


class RegionMotion:
    """Adds up the flow while frames are made or read, so that they need not be kept.

    The flow is OpenCV's DIS (Kroeger et al. 2016) over 0.2 s. Equal pictures have none.
    """

    def __init__(self, fps: float) -> None:
        self._step = max(1, round(_STEP_S * fps))
        self._step_s = self._step / fps
        self._since = 0
        self._start: tuple[Image, Floats] | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._speeds: deque[Doubles] = deque()

    def add(self, frame: Image, points_px: Floats) -> None:
        """The next frame with its landmarks (478, 3); NaN where there is no face."""
        if self._start is not None:
            self._since += 1
            if self._since < self._step:
                return
            self._speeds.append(self._between(*self._start, frame) / self._step_s)
        self._since = 0
        self._start = (frame, points_px) if np.isfinite(points_px).all() else None

    def speeds(self) -> dict[str, float]:
        """Mean speed of each of `REGIONS` in face widths per second; NaN for one that the picture lacks."""
        rows = np.array(self._speeds).reshape(-1, len(REGIONS))
        return {region: mean(column) for region, column in zip(REGIONS, rows.T, strict=True)}

    def _between(self, first: Image, points_px: Floats, second: Image) -> Doubles:
        """(3,) mean length of the flow in each region, in face widths."""
        width_px = face_width_px(points_px)
        x0, y0, x1, y1 = _view_px(points_px, width_px, first.shape)
        scale = min(1.0, _FACE_PX / width_px)
        points = (points_px[:, :2] - (x0, y0)) * scale
        before, after = (_small(frame[y0:y1, x0:x1], scale) for frame in (first, second))
        masks = _masks(points, width_px * scale, before.shape)
        if np.array_equal(before, after):
            lengths = np.zeros(before.shape)
        else:
            lengths = np.linalg.norm(self._flow.calc(before, after, None), axis=-1) / (width_px * scale)
        return np.array([lengths[mask].mean() if mask.any() else np.nan for mask in masks])


def score_region_motion(made: Observation) -> dict[str, float]:
    """torso_motion, hair_motion, face_motion: mean speed by optical flow, in face widths per second.

    Torso: 0.35 to 1.5 face widths below the chin, as wide as shoulders; NaN if the picture ends above that.
    Hair: 0.05 to 0.3 face widths above the forehead. Face: the oval.
    """
    motion = RegionMotion(made.fps)
    for frame, points_px in zip(made.frames, made.points_px, strict=True):
        motion.add(frame, points_px)
    return {f"{region}_motion": speed for region, speed in motion.speeds().items()}


def _view_px(points_px: Floats, width_px: float, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the part of the picture that holds the regions."""
    x, y = points_px[list(FACE_OVAL), :2].mean(axis=0)
    side, up, down = (width_px * extent for extent in _VIEW)
    low = np.clip([x - side, y - up], 0, None).astype(int)
    high = np.minimum(np.ceil([x + side, y + down]).astype(int), [shape[1], shape[0]])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _small(picture: Image, scale: float) -> Image:
    size = tuple(max(12, round(side * scale)) for side in (picture.shape[1], picture.shape[0]))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) if picture.ndim == 3 else picture
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _masks(points: Floats, width: float, shape: tuple[int, ...]) -> tuple[Mask, ...]:
    """Torso, hair and face, for landmarks in pixels of the small picture."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    chin, forehead = points[152], points[10]
    below, beside = (rows - chin[1]) / width, np.abs(columns - chin[0]) / width
    torso = (
        (below > _TORSO_TOP) & (below < _TORSO_BOTTOM) & (beside < np.minimum(below + 0.35, _TORSO_WIDEST))
    )
    if not (below > _TORSO_TOP + _LEAST_SEEN).any():
        torso[:] = False
    above, off = (forehead[1] - rows) / width, np.abs(columns - forehead[0]) / width
    hair = (above > _HAIR_NEAR) & (above < _HAIR_FAR) & (off < _HAIR_HALF)
    face = np.zeros(shape, np.uint8)
    cv2.fillPoly(face, [np.round(points[list(FACE_OVAL)]).astype(np.int32)], 1)
    return torso, hair, face > 0
