"""Videos with what was found in them: frames are followed while they are made, and never read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openemo.array_files import ArrayKind, read_arrays
from openemo.arrays import Image
from openemo.audio.audio_reader import Audio, read_audio
from openemo.errors import FaceError
from openemo.evaluation.face_tracks import FaceTracks, face_tracks
from openemo.evaluation.metrics.region_motion import REGIONS, RegionMotion
from openemo.face.analyzer import Face, FaceAnalyzer
from openemo.face.landmarks import NUM_POINTS
from openemo.files import whole_file
from openemo.pipeline.output import Animation
from openemo.video.video_reader import probe, read_frames
from openemo.video.video_writer import VideoWriter

KINDS = {
    "points_px": ArrayKind(np.float32, (None, NUM_POINTS, 3)),
    "fps": ArrayKind(np.float64, ()),
    "speeds": ArrayKind(np.float64, (len(REGIONS),)),
}


@dataclass(frozen=True, eq=False)
class Recording:
    """Attributes: points_px: (F, 478, 3), NaN without a face. speeds: by region, see `RegionMotion`."""

    points_px: NDArray[np.float32]
    fps: float
    speeds: dict[str, float]
    audio: Audio

    @cached_property
    def tracks(self) -> FaceTracks:
        return face_tracks(self.points_px, self.fps)


def record(make: Callable[[], Animation], audio: Audio, video: Path, analyzer: FaceAnalyzer) -> Recording:
    """Writes the video and, beside it, landmarks and motion. What is there already is read."""
    note = video.with_suffix(".npz")
    if not (note.exists() and video.exists()):
        video.parent.mkdir(parents=True, exist_ok=True)
        animation = make()
        followed = Followed(float(animation.fps), analyzer)
        with VideoWriter(
            video, fps=animation.fps, width=animation.width, height=animation.height, audio=audio
        ) as writer:
            for frame in animation:
                writer.write(frame)
                followed.add(frame)
        followed.save(note)
    return load(note, audio)


def of_clip(clip: Path, note: Path, analyzer: FaceAnalyzer) -> Recording:
    """A real clip. What was found in it is kept in `note`."""
    if not note.exists():
        followed = Followed(float(probe(clip).fps), analyzer)
        for frame in read_frames(clip):
            followed.add(frame)
        note.parent.mkdir(parents=True, exist_ok=True)
        followed.save(note)
    return load(note, read_audio(clip))


def load(note: Path, audio: Audio) -> Recording:
    found = read_arrays(note, KINDS)
    speeds = dict(zip(REGIONS, found["speeds"].tolist(), strict=True))
    return Recording(found["points_px"], float(found["fps"]), speeds, audio)


class Followed:
    """Landmarks and motion of the frames that were added."""

    def __init__(self, fps: float, analyzer: FaceAnalyzer) -> None:
        self.fps, self.analyzer = fps, analyzer
        self.motion = RegionMotion(fps)
        self.points: list[NDArray[np.float32]] = []
        self.face: Face | None = None

    def add(self, frame: Image) -> None:
        self.face = self.analyzer.track(frame, self.face) if self.face is not None else self._find(frame)
        points = np.full((NUM_POINTS, 3), np.nan, np.float32) if self.face is None else self.face.points_px
        self.points.append(points)
        self.motion.add(frame, points)

    def save(self, note: Path) -> None:
        speeds = np.array([self.motion.speeds()[region] for region in REGIONS])
        with whole_file(note) as file:
            np.savez(file, points_px=np.stack(self.points), fps=np.float64(self.fps), speeds=speeds)

    def _find(self, frame: Image) -> Face | None:
        try:
            return self.analyzer.find(frame)
        except FaceError:
            return None
