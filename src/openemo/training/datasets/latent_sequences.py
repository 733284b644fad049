"""Sequences coded once by the trained autoencoder: what the denoising stages read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray

from openemo.array_files import REPAIR, ArrayKind, read_arrays
from openemo.data.sequences import FrameSequence, sequence_paths
from openemo.errors import TrainingError
from openemo.face.landmarks import NUM_POINTS
from openemo.files import whole_file
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.training.datasets.head_flow import HEAD_STRIDE, depth_map
from openemo.training.datasets.latent_coders import LatentCoder, read_pictures

__all__ = ["LatentSequence", "encode_sequences"]

log = logging.getLogger(__name__)

_FRAMES_AT_ONCE = 16
_KINDS: Final = {
    "latents": ArrayKind(np.float16, (None,) * 4),
    "features": ArrayKind(np.float16, (None,) * 3),
    "boxes": ArrayKind(np.float32, (None, 4)),
    "face": ArrayKind(np.float32, (NUM_POINTS, 3)),
    "expressions": ArrayKind(np.float16, (None,) * 4),
    "depth": ArrayKind(np.float32, (None, None)),
    "clip": ArrayKind(np.str_, ()),
    "first_frame": ArrayKind(np.int64, ()),
    "speed_rad_s": ArrayKind(np.float32, (None,)),
}


@dataclass(frozen=True)
class LatentSequence:
    """One sequence in latents. Boxes and points are in units of the crop's side.

    Attributes:
        latents: (F, C, H, W) float16. features: (C_ref, H, W) float16 of the reference.
        boxes: (F, 4) face box x0, y0, x1, y1 of each frame.
        face: (478, 3) landmarks of the reference.
        expressions: (1 + E, C, H, W) float16: what raised brows and each emotion add to the latents, by the
            units of `openemo.rendering.expression_flow`; (0, C, H, W) where latents are no flow.
        depth: (g, g) of the reference's head, see `depth_map`.
        clip, first_frame, speed_rad_s: as in `FrameSequence`.
    """

    latents: NDArray[np.float16]
    features: NDArray[np.float16]
    boxes: NDArray[np.float32]
    face: NDArray[np.float32]
    expressions: NDArray[np.float16]
    depth: NDArray[np.float32]
    clip: str
    first_frame: int
    speed_rad_s: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> LatentSequence:
        """Raises TrainingError if the file is damaged."""
        fields: dict[str, Any] = read_arrays(path, _KINDS)
        if len({len(fields[name]) for name in ("latents", "boxes", "speed_rad_s")}) > 1:
            raise TrainingError(f"the arrays in {path} are of different lengths", fix=REPAIR)
        return cls(**fields | {"clip": str(fields["clip"]), "first_frame": int(fields["first_frame"])})

    def save(self, path: Path) -> None:
        """Writes one .npz, complete or not at all."""
        with whole_file(path) as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})


def encode_sequences(source: Path, coder: LatentCoder, target: Path) -> list[Path]:
    """Codes every sequence of a folder that `target` lacks, each process its part; returns all files.

    Those without pictures of their frames are left out where latents are no flow.
    """
    target.mkdir(parents=True, exist_ok=True)
    is_flow = isinstance(coder.autoencoder, MotionAutoencoder)
    paths, processes = sequence_paths(source, with_pictures=not is_flow), PartialState()
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
    face = np.concatenate([points[0], sequence.depth_px[:, None] / sequence.size_px], 1).astype(np.float32)
    return LatentSequence(
        torch.cat(latents).numpy(),
        features.half().numpy(),
        np.concatenate([points[1:].min(1), points[1:].max(1)], -1).astype(np.float32),
        face,
        coder.expressions(face).half().numpy(),
        depth_map(face, sequence.size_px // HEAD_STRIDE),
        sequence.clip,
        sequence.first_frame,
        sequence.speed_rad_s,
    )
