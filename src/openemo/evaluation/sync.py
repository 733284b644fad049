"""Sync-own: do mouth and voice belong together, judged by a network that learnt it from real clips.

The measure is SyncNet's (Chung and Zisserman 2016): the distance between five frames and the sound, averaged
over windows, at every shift from -15 to 15 frames. What is done otherwise, because it changes the figure:

- The mean is always over 36 windows (2.8 s), and longer videos are cut into such stretches: the least of 31
  means falls with the number of windows.
- Every shift is judged on the same pictures, where SyncNet meets zeros beyond the clip's ends.
- How near a sound is to all pictures of the stretch is taken out. A frozen mouth is nearer to some sounds
  than to others (to pauses, if it is closed), and would have a confidence for that; now it has none.

The figures are those of another network, and comparable only with figures of this one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from openemo.audio.reading import Audio
from openemo.audio.relative_mel import SAMPLE_RATE_HZ, relative_log_mel
from openemo.checkpoints.components import load_network, move
from openemo.checkpoints.folder import verify_hashes
from openemo.face.mouth import mouth_crops
from openemo.models.sync import SYNC_FPS, WINDOW_FRAMES, SyncEmbedder, rows_of_frames
from openemo.timing import frames_at_rate, parse_fps

__all__ = [
    "MAX_SHIFT_FRAMES",
    "STRETCH_WINDOWS",
    "SeenVideo",
    "SyncEmbeddings",
    "SyncScore",
    "SyncScorer",
    "score_distances",
    "shift_distances",
]

Floats = NDArray[np.floating]

MAX_SHIFT_FRAMES: Final = 15
STRETCH_WINDOWS: Final = 36
_LEAST_SEEN = 0.5
_SHIPPED = Path(__file__).parent / "weights" / "sync"


class SeenVideo(Protocol):
    """What is needed of an observed video: an `Observation`, or anything like it."""

    @property
    def frames(self) -> tuple[NDArray[np.uint8], ...]: ...
    @property
    def fps(self) -> float: ...
    @property
    def points_px(self) -> NDArray[np.float32]: ...
    @property
    def audio(self) -> Audio | None: ...


@dataclass(frozen=True, eq=False)
class SyncEmbeddings:
    """A video at 25 fps, W windows of five frames.

    Attributes:
        pictures, sound: (W, D) unit vectors.
        seen: (W,) bool, whether all five frames have a face.
    """

    pictures: Floats
    sound: Floats
    seen: NDArray[np.bool_]


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
        if seen.mean() < _LEAST_SEEN:
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


class SyncScorer:
    """The shipped network, or another one of its class, as a measure of videos."""

    def __init__(self, network: SyncEmbedder) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(cls, path: Path | None = None) -> Self:
        """Loads a folder with config.json, weights and SHA256SUMS; the shipped one when `path` is None.

        Raises:
            CheckpointError: missing, changed, or of another network.
        """
        folder = _SHIPPED if path is None else path
        verify_hashes(folder)
        return cls(move(load_network(SyncEmbedder, folder), "cpu", torch.float32))

    def __call__(self, video: SeenVideo) -> dict[str, float]:
        """`sync_own_confidence`, `sync_own_offset_frames` (of 1/25 s), `sync_own_distance` and
        `sync_own_in_step`, as `SyncScore` says; NaN without sound, under 70 frames, or with too few faces.
        """
        embeddings = self.embed(video)
        distances = np.empty(0) if embeddings is None else shift_distances(embeddings)
        return {f"sync_own_{name}": value for name, value in asdict(score_distances(distances)).items()}

    @torch.inference_mode()
    def embed(self, video: SeenVideo) -> SyncEmbeddings | None:
        """Windows of a video at 25 fps; None without sound or without a window."""
        indices = frames_at_rate(len(video.frames), parse_fps(video.fps), Fraction(SYNC_FPS))
        if video.audio is None or len(indices) < WINDOW_FRAMES:
            return None
        config: Any = self.network.config
        crops, seen = mouth_crops(
            (video.frames[index] for index in indices),
            video.points_px[indices],
            (config.height, config.width),
        )
        rows = sound_rows(video.audio, len(indices))
        pictures, sound = self.network(torch.from_numpy(crops)[None], torch.from_numpy(rows)[None])
        whole = np.asarray(np.lib.stride_tricks.sliding_window_view(seen, WINDOW_FRAMES).all(-1), np.bool_)
        return SyncEmbeddings(pictures[0].numpy(), sound[0].numpy(), whole)


def sound_rows(audio: Audio, num_frames: int) -> NDArray[np.float32]:
    """(4 num_frames + 1, 80): the rows that belong to so many frames at 25 fps."""
    samples = audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
    return relative_log_mel(samples, rows_of_frames(num_frames))
