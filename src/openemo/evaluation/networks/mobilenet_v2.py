"""MobileNetV2's features of frames, which FD-MobileNetV2 compares. A distance of them is not FID."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from openemo.arrays import Image
from openemo.evaluation.networks.weights import load_weights, shipped

__all__ = ["MobileNetV2"]


_INPUT_PX: Final = 224
_MEAN: Final = (0.485, 0.456, 0.406)
_STD: Final = (0.229, 0.224, 0.225)
# Expansion, channels, number of blocks, stride of the first (Sandler et al. 2018, Table 2).
_STAGES: Final = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
_BATCH = 8


class _InvertedResidual(nn.Module):
    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand = nn.Conv2d(in_channels, hidden, 1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = nn.Conv2d(hidden, channels, 1)
        self.is_residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        projected: Tensor = self.project(F.relu6(self.depthwise(y)))
        return x + projected if self.is_residual else projected


class MobileNetV2(nn.Module):
    """The feature part of MobileNetV2 (Sandler et al. 2018), batch norms folded into the convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        blocks: list[nn.Module] = []
        before = 32
        for expansion, channels, count, stride in _STAGES:
            for index in range(count):
                blocks.append(_InvertedResidual(before, channels, stride if index == 0 else 1, expansion))
                before = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Conv2d(before, 1280, 1)

    @classmethod
    def from_pretrained(cls) -> MobileNetV2:
        """With the shipped ImageNet weights. Raises CheckpointError."""
        network: MobileNetV2 = load_weights(cls(), shipped("mobilenet_v2"))
        return network

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB, normalised as for ImageNet -> (N, 1280), averaged over the picture."""
        x = self.blocks(F.relu6(self.stem(images)))
        return F.relu6(self.head(x)).mean((2, 3))

    @torch.inference_mode()
    def embed(self, frames: list[Image]) -> NDArray[np.float32]:
        """(F, 1280) of whole uint8 RGB frames, scaled to 224x224 by averaging over areas."""
        parts = []
        for start in range(0, len(frames), _BATCH):
            images = np.stack([_resize(frame) for frame in frames[start : start + _BATCH]])
            batch = torch.from_numpy(images).to(self.stem.weight.device).permute(0, 3, 1, 2)
            parts.append(self(batch).cpu().numpy())
        return np.concatenate(parts)


def _resize(frame: Image) -> NDArray[np.float32]:
    small = cv2.resize(frame, (_INPUT_PX, _INPUT_PX), interpolation=cv2.INTER_AREA)
    return ((np.asarray(small, np.float32) / 255 - _MEAN) / _STD).astype(np.float32)
