"""Is it still the same person? Face embeddings, against the portrait and between neighbouring frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from openemo.evaluation.weights import load_weights, shipped

__all__ = ["CHIP_PX", "EMBEDDING_DIM", "FaceIdentity", "face_chip"]

Image = NDArray[np.uint8]

EMBEDDING_DIM: Final = 128
CHIP_PX: Final = 150
_BATCH = 16
_MEAN_RGB: Final = (122.782, 117.001, 104.298)
# Where dlib puts the corners of the eyes and the base of the nose, in a square of side 1 that is then padded
# by a quarter on each side; with the landmarks of the mesh that are these points.
_TEMPLATE: Final = {
    263: (0.8595674595992, 0.2134981538014),
    362: (0.6460604764104, 0.2289674387677),
    33: (0.1205750620789, 0.2137274526848),
    133: (0.3340850613712, 0.2290642403242),
    2: (0.4901123135679, 0.6277975316475),
}
_PADDING: Final = 0.25


def face_chip(image: Image, points_px: NDArray[np.floating]) -> Image:
    """The face upright and at the size that the network learned, (150, 150, 3).

    The similarity transform is the least-squares fit of five landmarks (Umeyama 1991, without reflection).
    """
    target = (np.array(list(_TEMPLATE.values())) + _PADDING) / (1 + 2 * _PADDING) * CHIP_PX
    source = np.asarray(points_px, np.float64)[list(_TEMPLATE), :2]
    return _warp(image, similarity(source, target))


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2, 3) least-squares scale, turn and shift that takes `source` (N, 2) to `target` (N, 2)."""
    a = np.asarray(source, np.float64) @ (1, 1j)
    b = np.asarray(target, np.float64) @ (1, 1j)
    # In the complex plane a similarity is b = z a + w.
    centred = a - a.mean()
    z = np.vdot(centred, b - b.mean()) / np.vdot(centred, centred).real
    w = b.mean() - z * a.mean()
    return np.array([[z.real, -z.imag, w.real], [z.imag, z.real, w.imag]])


def _warp(image: Image, matrix: NDArray[np.float64]) -> Image:
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale < 1:
        # Bilinear sampling alone would skip pixels, and a skipped pixel looks like another face.
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        ratio = np.array([image.shape[1] / width, image.shape[0] / height])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        matrix = np.concatenate([matrix[:, :2] * ratio, matrix[:, 2:]], axis=1)
    chip = cv2.warpAffine(image, matrix, (CHIP_PX, CHIP_PX), flags=cv2.INTER_LINEAR)
    return np.asarray(chip, np.uint8)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut. A block that halves the size averages its shortcut, and pads the
    shortcut's missing channels, or the convolutions' missing last row and column, with zeros."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        # dlib pads only where the size stays.
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

    Faces of one person lie within a Euclidean distance of about 0.6, faces of two people mostly farther.
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
                for before, (channels, stride) in zip(widths, plan, strict=False)
            )
        )
        self.head = nn.Linear(256, EMBEDDING_DIM, bias=False)

    @classmethod
    def from_pretrained(cls, folder: Path | None = None) -> FaceIdentity:
        """The shipped weights, or those of `folder`. Raises CheckpointError."""
        network: FaceIdentity = load_weights(cls(), folder or shipped("face_identity"))
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
