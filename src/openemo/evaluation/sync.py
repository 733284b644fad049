"""Sync-own: do mouth and voice belong together, judged by a network that learnt it from real clips.

The measure is SyncNet's (Chung and Zisserman 2016): the distance between five frames and the sound, averaged
over windows, at every shift from -15 to 15 frames. What is done otherwise, because it changes the figure:

- every shift is judged on the same pictures, where SyncNet meets zeros beyond the ends;
- the mean is always over 36 windows (2.8 s), and longer videos are cut into such stretches, because the least
  of 31 means falls with the number of windows;
- the figures are those of another network, and comparable only with figures of this one.
"""

from __future__ import annotations

from dataclasses import dataclass
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


def shift_distances(embeddings: SyncEmbeddings, max_shift: int = MAX_SHIFT_FRAMES) -> Floats:
    """(W - 2 max_shift, 2 max_shift + 1) distances, 0 to 2, of pictures to the sound s windows later.

    Rows are the windows for which every shift exists; NaN where a face is missing. Column 0 is
    s = -max_shift. No rows for a video that is too short.
    """
    num_windows = len(embeddings.pictures)
    windows = np.arange(max_shift, max(max_shift, num_windows - max_shift))
    sounds = embeddings.sound[windows[:, None] + np.arange(-max_shift, max_shift + 1)]
    cosine = np.einsum("wd,wsd->ws", embeddings.pictures[windows], sounds)
    distances = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    return np.where(embeddings.seen[windows, None], distances, np.nan)


def score_distances(distances: Floats) -> tuple[float, float, float]:
    """(confidence, offset in frames, distance) of what `shift_distances` gave.

    Confidence is the median minus the least of the 31 mean distances, distance is the least; both are means
    over stretches of 36 windows. The offset is positive when the picture is late. All NaN where there are
    not 36 windows, or no stretch shows a face in half of its windows.
    """
    num_stretches = len(distances) // STRETCH_WINDOWS
    starts = np.linspace(0, len(distances) - STRETCH_WINDOWS, num_stretches + 2)[1:-1]
    if num_stretches > 1:
        starts = np.linspace(0, len(distances) - STRETCH_WINDOWS, num_stretches)
    stretches = [distances[start : start + STRETCH_WINDOWS] for start in np.round(starts).astype(int)]
    curves = [
        np.nanmean(stretch, axis=0)
        for stretch in stretches
        if np.isfinite(stretch[:, 0]).mean() >= _LEAST_SEEN
    ]
    if not curves:
        return float("nan"), float("nan"), float("nan")
    least = np.min(curves, axis=1)
    confidence = np.mean(np.median(curves, axis=1) - least)
    offset = (distances.shape[1] // 2) - int(np.argmin(np.mean(curves, axis=0)))
    return float(confidence), float(offset), float(least.mean())


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
        """`sync_own_confidence`, `sync_own_offset_frames` (of 1/25 s, positive: picture late),
        `sync_own_distance`; NaN where there is no sound, too few frames (under 70) or too few faces.
        """
        embeddings = self.embed(video)
        values = (float("nan"),) * 3 if embeddings is None else score_distances(shift_distances(embeddings))
        names = ("sync_own_confidence", "sync_own_offset_frames", "sync_own_distance")
        return dict(zip(names, values, strict=True))

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
        whole = np.lib.stride_tricks.sliding_window_view(seen, WINDOW_FRAMES).all(-1)
        return SyncEmbeddings(pictures[0].numpy(), sound[0].numpy(), whole)


def sound_rows(audio: Audio, num_frames: int) -> NDArray[np.float32]:
    """(4 num_frames + 1, 80): the rows that belong to so many frames at 25 fps."""
    samples = audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
    return relative_log_mel(samples, rows_of_frames(num_frames))
