"""Tells whether something covers the mouth: a mask, a hand, a microphone, a scarf.

The landmark network marks lips on whatever covers them, so a small network of its own looks at the picture.
`benchmarks/covered_mouths.py` trains it on covers drawn over portraits.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from openemo.arrays import Floats, Image
from openemo.face.landmarks import OUTER_LIPS, face_width_px
from openemo.face.square_sampling import sample_square
from openemo.image_tensors import images_to_tensor
from openemo.weight_files import load_network_weights

__all__ = ["INPUT_PX", "CoveredMouthNet", "covered_mouth_logit", "is_mouth_covered", "mouth_square"]

INPUT_PX: Final = 48
_SCALES: Final = (0.9, 1.0, 1.1)
_THRESHOLD: Final = 1.0
_SIDE: Final = 0.8  # of the square around the mouth, over the width of the face


class CoveredMouthNet(nn.Module):
    """A square around the mouth (B, 3, 48, 48) in [-1, 1] -> (B,) logits; over 0 something covers it."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 32, 48, 64)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in widths[1:])
        self.hidden = nn.Linear(64 * 9, 48)
        self.out = nn.Linear(48, 1)

    def forward(self, images_B3SS: Tensor) -> Tensor:
        x = images_B3SS
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x)))
        logits: Tensor = self.out(torch.relu(self.hidden(x.flatten(1))))[:, 0]
        return logits


def mouth_square(points_px: Floats) -> tuple[Floats, float, float]:
    """Centre (2,) px, side px and angle in radians of the upright square around a mouth."""
    points = np.asarray(points_px[:, :2], np.float64)
    across = points[263] - points[33]
    return (
        points[list(OUTER_LIPS)].mean(0),
        _SIDE * face_width_px(points),
        float(np.arctan2(across[1], across[0])),
    )


def is_mouth_covered(image: Image, points_px: Floats) -> bool:
    """Whether something hides most of the lips.

    Args:
        image: (height, width, 3) uint8 RGB. points_px: (478, 2 or more) landmarks, at any roll.
    """
    return covered_mouth_logit(image, points_px) > _THRESHOLD


@torch.no_grad()
def covered_mouth_logit(image: Image, points_px: Floats) -> float:
    """Mean over several squares and their mirror images; over 0 it is likely that the mouth is covered."""
    centre_px, side_px, angle = mouth_square(points_px)
    squares = np.stack(
        [
            sample_square(image, centre_px, scale * side_px, angle, INPUT_PX, cv2.BORDER_REPLICATE)
            for scale in _SCALES
        ]
    )
    inputs = images_to_tensor(list(squares))
    return float(_network()(torch.cat([inputs, inputs.flip(3)])).mean())


@cache
def _network() -> CoveredMouthNet:
    path = Path(str(files("openemo") / "assets" / "covered_mouth.safetensors"))
    return load_network_weights(CoveredMouthNet, path, fix="Install the package again").float().eval()
