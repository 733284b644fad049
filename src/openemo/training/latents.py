"""Sequences coded once by the trained autoencoder: what the denoising stages read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.data.sequences import Sequence
from openemo.face.gestures import gestures
from openemo.files import whole_file
from openemo.models.autoencoder import MotionAutoencoder
from openemo.models.vae import ImageAutoencoder
from openemo.training.autoencoder import flow_between, to_tensor
from openemo.training.peers import Peers

__all__ = ["CodedSequence", "encode_sequences"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CodedSequence:
    """One sequence in the autoencoder's terms. Boxes and points are in units of the crop's side.

    Attributes:
        latents: (F, C, H, W) float16. features: (C_ref, H, W) float16 of the reference.
        boxes: (F, 4) face box x0, y0, x1, y1 of each frame.
        face: (478, 2) landmarks of the reference.
        gestures: (F, 5), see `openemo.face.gestures`.
        clip, first_frame, speed_rad_s: as in `Sequence`.
    """

    latents: NDArray[np.float16]
    features: NDArray[np.float16]
    boxes: NDArray[np.float32]
    face: NDArray[np.float32]
    gestures: NDArray[np.float32]
    clip: str
    first_frame: int
    speed_rad_s: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> CodedSequence:
        with np.load(path) as data:
            fields = {name: data[name] for name in cls.__dataclass_fields__}
        return cls(**fields | {"clip": str(fields["clip"]), "first_frame": int(fields["first_frame"])})

    def save(self, path: Path) -> None:
        """Writes one .npz, complete or not at all."""
        with whole_file(path) as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})


@torch.inference_mode()
def encode_sequence(
    sequence: Sequence, autoencoder: MotionAutoencoder | ImageAutoencoder, batch: int = 16
) -> CodedSequence:
    """Codes all frames of a sequence: relative to its reference, or each by itself."""
    reference = _pictures(sequence, range(1))
    batches = [
        range(start, min(start + batch, sequence.num_frames + 1))
        for start in range(1, sequence.num_frames + 1, batch)
    ]
    if isinstance(autoencoder, MotionAutoencoder):
        features = autoencoder.encode_reference(reference).coarse[0]
        latents = [_motion(sequence, indices, autoencoder) for indices in batches]
    else:
        image_autoencoder: ImageAutoencoder = autoencoder
        features = image_autoencoder.encode_reference(reference)[0]
        latents = [_images(sequence, indices, image_autoencoder) for indices in batches]
    points = sequence.points_px / sequence.size_px
    return CodedSequence(
        torch.cat(latents).numpy(),
        features.half().numpy(),
        np.concatenate([points[1:].min(1), points[1:].max(1)], -1).astype(np.float32),
        points[0].astype(np.float32),
        np.stack([gestures(points[0], frame) for frame in points[1:]]),
        sequence.clip,
        sequence.first_frame,
        sequence.speed_rad_s,
    )


def _motion(sequence: Sequence, indices: range, autoencoder: MotionAutoencoder) -> Tensor:
    points, stride = sequence.points_px, int(autoencoder.config.flow_stride)
    flow = torch.stack([flow_between(points[0], points[i], sequence.size_px, stride) for i in indices])
    return autoencoder.pack(flow).half()


def _images(sequence: Sequence, indices: range, autoencoder: ImageAutoencoder) -> Tensor:
    frames_B3FSS = _pictures(sequence, indices).transpose(0, 1)[None]
    return autoencoder.encode_frames(frames_B3FSS)[0].transpose(0, 1).half()


def _pictures(sequence: Sequence, indices: range) -> Tensor:
    pictures = to_tensor([sequence.picture(i) for i in indices])
    return pictures.contiguous(memory_format=torch.channels_last)


def encode_sequences(
    source: Path, autoencoder: MotionAutoencoder | ImageAutoencoder, target: Path
) -> list[Path]:
    """Codes every sequence of a folder that `target` lacks, each peer its part; returns all coded files."""
    target.mkdir(parents=True, exist_ok=True)
    autoencoder = autoencoder.eval().to(memory_format=torch.channels_last)
    paths, peers = sorted(source.glob("*.npz")), Peers.present()
    for index in range(peers.rank, len(paths), peers.count):
        path = paths[index]
        if not (target / path.name).exists():
            encode_sequence(Sequence.load(path), autoencoder).save(target / path.name)
        if index % 100 == 0:
            log.info("coded %d of %d sequences", index, len(paths))
    peers.meet()
    return [target / path.name for path in paths]
