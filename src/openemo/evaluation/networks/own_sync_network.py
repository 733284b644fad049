"""Our own synchronisation network: embeddings of mouth and sound in windows of five frames."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.audio.audio_reader import Audio
from openemo.audio.relative_mel import SAMPLE_RATE_HZ, relative_log_mel
from openemo.checkpoints.components import load_network, move
from openemo.checkpoints.folder import verify_hashes
from openemo.evaluation.networks.weights import shipped
from openemo.face.mouth_crops import mouth_crops
from openemo.models.sync_embedder import SYNC_FPS, WINDOW_FRAMES, SyncEmbedder, rows_of_frames
from openemo.timing import frames_at_rate, parse_fps

__all__ = ["OwnSyncNetwork", "SyncEmbeddings", "TrackedVideo"]


class TrackedVideo(Protocol):
    """What a synchronisation network reads of a video. An `Observation` has it."""

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


class OwnSyncNetwork:
    """A `SyncEmbedder` with the preparation of frames and sound that it was trained with."""

    def __init__(self, network: SyncEmbedder) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(cls, folder: Path | None = None) -> Self:
        """The shipped network, or that of a folder with config.json, weights and SHA256SUMS.

        Raises:
            CheckpointError: missing, changed, or of another network.
        """
        folder = folder or shipped("sync")
        verify_hashes(folder)
        return cls(move(load_network(SyncEmbedder, folder), "cpu", torch.float32))

    @torch.inference_mode()
    def embed(self, video: TrackedVideo) -> SyncEmbeddings | None:
        """Windows of a video, read at 25 fps; None without sound or under five frames."""
        indices = frames_at_rate(len(video.frames), parse_fps(video.fps), Fraction(SYNC_FPS))
        if video.audio is None or len(indices) < WINDOW_FRAMES:
            return None
        config: Any = self.network.config
        crops, seen = mouth_crops(
            (video.frames[index] for index in indices),
            video.points_px[indices],
            (config.height, config.width),
        )
        rows = _mel_rows(video.audio, len(indices))
        pictures, sound = self.network(torch.from_numpy(crops)[None], torch.from_numpy(rows)[None])
        whole = np.asarray(np.lib.stride_tricks.sliding_window_view(seen, WINDOW_FRAMES).all(-1), np.bool_)
        return SyncEmbeddings(pictures[0].numpy(), sound[0].numpy(), whole)


def _mel_rows(audio: Audio, num_frames: int) -> NDArray[np.float32]:
    """(4 num_frames + 1, 80) log-mel rows that belong to so many frames at 25 fps."""
    samples = audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
    return relative_log_mel(samples, rows_of_frames(num_frames))
