"""Pictures are moved with OpenCV as tensors are with torch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from openemo.rendering.flow import warp
from openemo.rendering.picture_warp import move_pictures


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size_px", [48, 61])
def test_a_picture_moves_as_a_tensor_does(channels: int, size_px: int) -> None:
    rng = np.random.default_rng(0)
    levels = cv2.GaussianBlur(rng.integers(0, 256, (96, 96, channels), np.uint8), (0, 0), 1.5)
    flow = cv2.GaussianBlur(rng.normal(0, 1, (12, 12, 4)).astype(np.float32), (0, 0), 2).reshape(12, 12, 2, 2)
    flow_N2gg = np.ascontiguousarray(flow.transpose(2, 3, 0, 1))  # up to the border, and beyond it
    moved = move_pictures([levels, levels[::-1].copy()], flow_N2gg, size_px)
    tensors = torch.from_numpy(np.stack([levels, levels[::-1]])).permute(0, 3, 1, 2).float()
    expected = warp(tensors, torch.from_numpy(flow_N2gg), size=(size_px, size_px))
    difference = abs(moved - expected.permute(0, 2, 3, 1).numpy())
    assert moved.shape == (2, size_px, size_px, channels)
    assert difference.mean() < 0.35  # grey levels; rounding is 0.25
    assert difference.max() < 2
    assert abs(moved[0].astype(int) - moved[1]).max() > 10
