"""dlib's face recognition network: embeddings that are close for two faces of one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from openemo.arrays import Image
from openemo.evaluation.alignment import face_chip
from openemo.evaluation.networks.weights import load_weights, shipped

__all__ = ["EMBEDDING_DIM", "FaceIdentity"]


EMBEDDING_DIM: Final = 128
_BATCH = 16
_MEAN_RGB: Final = (122.782, 117.001, 104.298)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    A block that halves the size averages its shortcut. Missing channels of the shortcut and the missing last
    row and column of the convolutions are zeros.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        # dlib pads only where the size does not change.
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1 if stride == 1 else 0)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.stride > 1:
            x = F.avg_pool2d(x, 2, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return F.relu(x + y)


class FaceIdentity(nn.Module):
    """dlib's face recognition network (King 2017): a ResNet of 29 layers that embeds a face into R^128.

    Faces of one person lie within a Euclidean distance of about 0.6, faces of two people mostly beyond.
    The scale of dlib's affine layers is folded into the convolutions before them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2)
        plan = [(32, 1)] * 3 + [(64, 2)] + [(64, 1)] * 3 + [(128, 2)] + [(128, 1)] * 2
        plan += [(256, 2)] + [(256, 1)] * 2 + [(256, 2)]
        widths = [32] + [channels for channels, _ in plan]
        self.blocks = nn.Sequential(
            *(
                _Block(before, channels, stride)
                for before, (channels, stride) in zip(widths[:-1], plan, strict=True)
            )
        )
        self.head = nn.Linear(256, EMBEDDING_DIM, bias=False)

    @classmethod
    def from_pretrained(cls) -> FaceIdentity:
        """With the shipped weights. Raises CheckpointError."""
        network: FaceIdentity = load_weights(cls(), shipped("face_identity"))
        return network

    def forward(self, chips: Tensor) -> Tensor:
        """(N, 3, 150, 150) RGB in [0, 255] -> (N, 128)."""
        x = (chips - chips.new_tensor(_MEAN_RGB)[:, None, None]) / 256
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        embedded: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return embedded

    @torch.inference_mode()
    def embed(self, frames: Sequence[Image], points_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """(F, 128) of frames with their landmarks (F, 478, 3); NaN where the landmarks are NaN."""
        result = np.full((len(frames), EMBEDDING_DIM), np.nan, np.float32)
        seen = np.flatnonzero(np.isfinite(points_px).all(axis=(1, 2)))
        device = self.stem.weight.device
        for start in range(0, len(seen), _BATCH):
            indices = seen[start : start + _BATCH]
            chips = np.stack([face_chip(frames[index], points_px[index]) for index in indices])
            batch = torch.from_numpy(chips).to(device).permute(0, 3, 1, 2).float()
            result[indices] = self(batch).cpu().numpy()
        return result
