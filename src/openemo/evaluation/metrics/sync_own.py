"""Sync-own: do mouth and voice belong together, judged by a network trained on real clips.

The measure is SyncNet's (Chung and Zisserman 2016): the mean distance between five frames and the sound, at
every shift from -15 to 15 frames. Three things differ, because they change the figure:

- The mean is always over 36 windows (2.8 s). Longer videos are cut into such stretches, because the least of
  31 means falls with the number of windows.
- Every shift is judged on the same pictures. SyncNet compares with zeros beyond the clip's ends.
- The mean distance of a sound to all pictures of the stretch is taken out. A frozen mouth is nearer to some
  sounds than to others (to pauses, if it is closed). Without this it would get a confidence for that.

The figures are those of our own network. They compare only with figures of the same network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from openemo.arrays import Floats
from openemo.evaluation.networks.own_sync_network import SyncEmbeddings

__all__ = [
    "MAX_SHIFT_FRAMES",
    "STRETCH_WINDOWS",
    "SyncScore",
    "score_distances",
    "score_sync_own",
    "shift_distances",
]


MAX_SHIFT_FRAMES: Final = 15
STRETCH_WINDOWS: Final = 36
_MIN_SEEN: Final = 0.5  # share of a stretch's windows with a face


def score_sync_own(embeddings: SyncEmbeddings | None) -> dict[str, float]:
    """`sync_own_confidence`, `sync_own_offset_frames` (1/25 s), `sync_own_distance`, `sync_own_in_step`.

    See `SyncScore`. NaN without embeddings, under 70 frames, or with faces in too few frames.
    """
    distances = np.empty(0) if embeddings is None else shift_distances(embeddings)
    return {f"sync_own_{name}": value for name, value in asdict(score_distances(distances)).items()}


def shift_distances(embeddings: SyncEmbeddings) -> Floats:
    """(stretches, 36, 31) distances of pictures to the sound s windows later, s from -15 to 15.

    A distance counts relative to the mean distance of the same sound to all pictures of the stretch, and is
    about 0 to 2. NaN where a face is missing. No stretches for a video of under 70 frames.
    """
    shifts = np.arange(-MAX_SHIFT_FRAMES, MAX_SHIFT_FRAMES + 1)
    windows = np.arange(STRETCH_WINDOWS)
    found = np.empty((0, STRETCH_WINDOWS, len(shifts)))
    for start in _stretches(len(embeddings.pictures)):
        pictures = embeddings.pictures[start + windows]
        sounds = embeddings.sound[start - MAX_SHIFT_FRAMES : start + STRETCH_WINDOWS + MAX_SHIFT_FRAMES]
        distances = np.sqrt(np.maximum(2 - 2 * pictures @ sounds.T, 0))
        seen = embeddings.seen[start + windows]
        if seen.mean() < _MIN_SEEN:
            continue
        distances = distances - distances[seen].mean(0) + distances[seen].mean()
        rows = distances[windows[:, None], windows[:, None] + MAX_SHIFT_FRAMES + shifts]
        found = np.concatenate([found, np.where(seen[:, None], rows, np.nan)[None]])
    return found


def _stretches(num_windows: int) -> list[int]:
    """First windows of the stretches, spread evenly over the windows for which every shift exists."""
    free = num_windows - 2 * MAX_SHIFT_FRAMES
    count = free // STRETCH_WINDOWS
    if count < 1:
        return []
    gap = (free - count * STRETCH_WINDOWS) / (count + 1)
    return [MAX_SHIFT_FRAMES + round(gap * (index + 1)) + index * STRETCH_WINDOWS for index in range(count)]


@dataclass(frozen=True)
class SyncScore:
    """Means over the stretches of a video; NaN where there is none.

    Attributes:
        confidence: median minus least of the 31 mean distances. High too where the sound fits at a wrong
            shift, as the sound of another sentence of the same rhythm does.
        offset_frames: the shift of the least distance; positive when the picture is late.
        distance: the least mean distance.
        in_step: median minus the distance without a shift; about 0 for a sound that has nothing to do
            with the picture, negative where the sound fits only when it is shifted.
    """

    confidence: float
    offset_frames: float
    distance: float
    in_step: float


def score_distances(distances: Floats) -> SyncScore:
    """The figures of what `shift_distances` gave."""
    if not len(distances):
        return SyncScore(*(float("nan"),) * 4)
    curves = np.nanmean(distances, axis=1)
    least, median = curves.min(1), np.median(curves, axis=1)
    return SyncScore(
        float((median - least).mean()),
        float(MAX_SHIFT_FRAMES - int(curves.mean(0).argmin())),
        float(least.mean()),
        float((median - curves[:, MAX_SHIFT_FRAMES]).mean()),
    )
