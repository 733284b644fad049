"""A person's own video, as a source of motion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.errors import FaceError
from openemo.face import Face, FaceAnalyzer
from openemo.face.landmarks import NUM_POINTS
from openemo.video.video_reader import probe, read_frames

__all__ = ["MotionClip", "read_motion_clip"]

_LEAST_S: Final = 10.0  # are read of a clip that is long enough, also for a short voice


@dataclass(frozen=True, slots=True)
class MotionClip:
    """The landmarks of one face through a video.

    Attributes:
        points_px_FK3: (F, 478, 3); NaN in frames without a face.
        fps: frames per second.
    """

    points_px_FK3: NDArray[np.float32]
    fps: Fraction


def read_motion_clip(path: str | Path, analyzer: FaceAnalyzer, *, duration_s: float) -> MotionClip:
    """Follows the largest face of a video.

    Args:
        duration_s: of the voice; of a longer video no more than this is read, but 10 s if it has them.

    Raises:
        InputError: it cannot be read as video.
    """
    fps = probe(path).fps
    count = max(1, round(max(duration_s, _LEAST_S) * fps))
    nothing = np.full((NUM_POINTS, 3), np.nan, np.float32)
    face: Face | None = None
    points = []
    for frame in islice(read_frames(path), count):
        face = (face and analyzer.track(frame, face)) or _largest(frame, analyzer)
        points.append(nothing if face is None else face.points_px)
    return MotionClip(np.stack(points), fps)


def _largest(frame: Image, analyzer: FaceAnalyzer) -> Face | None:
    try:
        return analyzer.find(frame)
    except FaceError:
        return None
