"""Landmarks of every frame of the real clips, found once and saved."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openemo.array_files import ArrayKind, read_array
from openemo.audio.media_file import open_media
from openemo.errors import FaceError
from openemo.face.analyzer import FaceAnalyzer
from openemo.face.landmarks import NUM_POINTS
from openemo.files import whole_file

__all__ = ["Track", "decode_frames", "load_track", "track_clip", "track_clips"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Track:
    """Landmarks of one face through a clip: points_px (F, 478, 3) float32, in pixels of the clip."""

    points_px: NDArray[np.float32]


def decode_frames(path: Path) -> list[NDArray[np.uint8]]:
    """All frames of a short clip, (height, width, 3) uint8 RGB."""
    with open_media(path) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in container.decode(video=0)]


def load_track(path: Path) -> NDArray[np.float32]:
    """(F, 478, 3) landmarks that `track_clips` wrote. Raises TrainingError if the file is damaged."""
    return read_array(path, ArrayKind(np.float32, (None, NUM_POINTS, 3)))


def track_clip(frames: Sequence[NDArray[np.uint8]], analyzer: FaceAnalyzer) -> Track:
    """Follows the largest face of the first frame. Raises FaceError if it is lost and not found again."""
    face = analyzer.find(frames[0])
    points = [face.points_px]
    for frame in frames[1:]:
        face = analyzer.track(frame, face) or analyzer.find(frame)
        points.append(face.points_px)
    return Track(np.stack(points))


def track_clips(clips: Sequence[Path], analyzer: FaceAnalyzer, folder: Path) -> list[Path]:
    """Tracks each clip into `folder`/NAME.npy, if that is missing. Returns the clips with landmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    good: list[Path] = []
    for clip in clips:
        target = folder / f"{clip.stem}.npy"
        if not target.exists():
            try:
                track = track_clip(decode_frames(clip), analyzer)
            except FaceError as error:
                log.warning("left out %s: %s", clip.name, error)
                continue
            with whole_file(target) as file:
                np.save(file, track.points_px)
        good.append(clip)
    return good
