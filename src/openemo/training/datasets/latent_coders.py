"""How each kind of autoencoder codes a training sequence: the flow between landmarks, or frames alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.data.retargeting import lower_face_motion
from openemo.data.sequences import FrameSequence
from openemo.image_tensors import images_to_tensor
from openemo.models.autoencoder import Autoencoder
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.rendering.expression_flow import expression_flows
from openemo.training.datasets.autoencoder_dataset import flow_between
from openemo.training.exports import load_export

if TYPE_CHECKING:
    from openemo.models.image_autoencoder import ImageAutoencoder

__all__ = ["LatentCoder", "image_coder", "load_coder", "motion_coder", "read_pictures"]


@dataclass(frozen=True)
class LatentCoder:
    """An autoencoder and what training does with its latents.

    Attributes:
        encode: (sequence, indices of its frames) -> latents (F, C, H, W).
        expressions: landmarks (478, 3) of a reference, in units of the side -> (1 + E, C, H, W), what raised
            brows and each emotion add to the latents; (0, C, H, W) where latents are no flow.
    """

    autoencoder: Autoencoder[Any]
    encode: Callable[[FrameSequence, range], Tensor]
    expressions: Callable[[NDArray[np.float32]], Tensor]


def load_coder(latents: Literal["motion", "image"], folder: Path) -> LatentCoder:
    """The coder of an exported autoencoder."""
    if latents == "motion":
        return motion_coder(load_export(MotionAutoencoder, folder))
    from openemo.models.image_autoencoder import ImageAutoencoder  # imports diffusers

    return image_coder(load_export(ImageAutoencoder, folder))


def motion_coder(autoencoder: MotionAutoencoder) -> LatentCoder:
    """Latents are the flow between the landmarks of the reference and those of the frame's lower face."""
    return LatentCoder(_frozen(autoencoder), partial(_flow, autoencoder), partial(_expressions, autoencoder))


def image_coder(autoencoder: ImageAutoencoder) -> LatentCoder:
    """Latents are the coded pictures."""
    return LatentCoder(_frozen(autoencoder), partial(_images, autoencoder), partial(_none, autoencoder))


def read_pictures(sequence: FrameSequence, indices: range) -> Tensor:
    """(N, 3, S, S) in [-1, 1], channels last. Picture 0 is the reference."""
    pictures = images_to_tensor([sequence.picture(i) for i in indices])
    return pictures.contiguous(memory_format=torch.channels_last)


def _frozen(autoencoder: Autoencoder[Any]) -> Autoencoder[Any]:
    autoencoder.requires_grad_(False).eval().to(memory_format=torch.channels_last)
    return autoencoder


def _flow(autoencoder: MotionAutoencoder, sequence: FrameSequence, indices: range) -> Tensor:
    points = lower_face_motion(sequence.points_px[[0, *indices]])
    stride = int(autoencoder.config.flow_stride)
    flow = torch.stack(
        [flow_between(points[0], points[i], sequence.size_px, stride) for i in range(1, len(points))]
    )
    return autoencoder.pack(flow)


def _expressions(autoencoder: MotionAutoencoder, face: NDArray[np.float32]) -> Tensor:
    return autoencoder.pack(torch.from_numpy(expression_flows(face, autoencoder.flow_size)))


def _none(autoencoder: ImageAutoencoder, face: NDArray[np.float32]) -> Tensor:
    return torch.zeros(0, autoencoder.latent_channels, 1, 1)


def _images(autoencoder: ImageAutoencoder, sequence: FrameSequence, indices: range) -> Tensor:
    frames_B3FSS = read_pictures(sequence, indices).transpose(0, 1)[None]
    return autoencoder.encode_frames(frames_B3FSS)[0].transpose(0, 1)
