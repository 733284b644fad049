"""Pictures as tensors and back: the only place where grey levels become network values.

Pictures are (height, width, 3) uint8 RGB, or (height, width, 4) with opacity; tensors hold the same values in
[-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Image

__all__ = ["images_to_tensor", "layer_to_tensor", "levels_to_values", "tensor_to_images"]


_HALF_RANGE = 127.5


def images_to_tensor(images: Sequence[Image]) -> Tensor:
    """N pictures of one size, (height, width, 3) uint8 -> (N, 3, height, width) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / _HALF_RANGE - 1


def levels_to_values(image: Image) -> NDArray[np.float32]:
    """The same values without a tensor: uint8 of any shape -> float32 in [-1, 1]."""
    return np.asarray(image / np.float32(_HALF_RANGE) - np.float32(1), np.float32)


def tensor_to_images(frames_B3FHW: Tensor) -> Iterator[Image]:
    """(1, 3, F, height, width) in [-1, 1] -> F pictures (height, width, 3) uint8, clipped."""
    for frame_3HW in frames_B3FHW[0].unbind(1):
        values = np.ascontiguousarray(frame_3HW.float().permute(1, 2, 0).cpu().numpy())
        # One pass that scales, rounds and clips.
        levels = cv2.addWeighted(values, _HALF_RANGE, values, 0, _HALF_RANGE, dtype=cv2.CV_8U)
        yield np.asarray(levels, np.uint8)


def layer_to_tensor(layer: NDArray[np.floating]) -> Tensor:
    """(height, width, C) of any unit -> (1, C, height, width) float32 of the same values."""
    return torch.from_numpy(layer).permute(2, 0, 1)[None].float()
