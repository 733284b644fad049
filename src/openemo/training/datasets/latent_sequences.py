"""Sequences coded once by the trained autoencoder: what the denoising stages read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from openemo.data.sequences import FrameSequence
from openemo.face.motion_conditions import motion_conditions
from openemo.files import whole_file
from openemo.training.datasets.latent_coders import LatentCoder, read_pictures

__all__ = ["LatentSequence", "encode_sequences"]

log = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class LatentSequence:
    """One sequence in latents. Boxes and points are in units of the crop's side.

    Attributes:
        latents: (F, C, H, W) float16. features: (C_ref, H, W) float16 of the reference.
        boxes: (F, 4) face box x0, y0, x1, y1 of each frame.
        face: (478, 2) landmarks of the reference.
        motion_conditions: (F, 5), see `openemo.face.motion_conditions`.
        clip, first_frame, speed_rad_s: as in `FrameSequence`.
    """

    latents: NDArray[np.float16]
    features: NDArray[np.float16]
    boxes: NDArray[np.float32]
    face: NDArray[np.float32]
    motion_conditions: NDArray[np.float32]
    clip: str
    first_frame: int
    speed_rad_s: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> LatentSequence:
        with np.load(path) as data:
            fields = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**fields | {"clip": str(fields["clip"]), "first_frame": int(fields["first_frame"])})

    def save(self, path: Path) -> None:
        """Writes one .npz, complete or not at all."""
        with whole_file(path) as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})


def encode_sequences(source: Path, coder: LatentCoder, target: Path) -> list[Path]:
    """Codes every sequence of a folder that `target` lacks, each process its part; returns all files."""
    target.mkdir(parents=True, exist_ok=True)
    paths, processes = sorted(source.glob("*.npz")), PartialState()
    for index in range(processes.process_index, len(paths), processes.num_processes):
        path = paths[index]
        if not (target / path.name).exists():
            _encode(FrameSequence.load(path), coder).save(target / path.name)
        if index % 100 == 0:
            log.info("coded %d of %d sequences", index, len(paths))
    processes.wait_for_everyone()
    return [target / path.name for path in paths]


@torch.inference_mode()
def _encode(sequence: FrameSequence, coder: LatentCoder) -> LatentSequence:
    frames = range(1, sequence.num_frames + 1)
    latents = [
        coder.encode(sequence, frames[start : start + _FRAMES_AT_ONCE]).half()
        for start in range(0, sequence.num_frames, _FRAMES_AT_ONCE)
    ]
    features = coder.autoencoder.encode_reference(read_pictures(sequence, range(1))).features_BCHW[0]
    points = sequence.points_px / sequence.size_px
    return LatentSequence(
        torch.cat(latents).numpy(),
        features.half().numpy(),
        np.concatenate([points[1:].min(1), points[1:].max(1)], -1).astype(np.float32),
        points[0].astype(np.float32),
        np.stack([motion_conditions(points[0], frame) for frame in points[1:]]),
        sequence.clip,
        sequence.first_frame,
        sequence.speed_rad_s,
    )
