"""Head movements that have nothing to do with what is said, added to clips in training.

In a clip of one speaker the head nods with the jaw, and a network that is told the head's movement
(`gestures`) moves the mouth along with it. What is drawn here moves the head alone.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from openemo.face.geometry import FACE_OVAL, STABLE, face_width_px
from openemo.face.gestures import GESTURE_UNITS, GESTURES

__all__ = ["add_head_motion", "draw_head_motion"]

_MEMORY: Final = 6.0  # frames


def draw_head_motion(num_frames: int, spread: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(F, 5) gestures to add: smooth, 0 for the eyes, about `spread` for the head."""
    noise = rng.standard_normal((num_frames + int(6 * _MEMORY), len(GESTURES)))
    smooth = gaussian_filter1d(noise, _MEMORY, axis=0)[int(3 * _MEMORY) :][:num_frames]
    smooth *= spread * np.sqrt(2 * _MEMORY * np.sqrt(np.pi))  # the filter takes that from white noise
    smooth[:, 0] = 0
    return np.asarray(smooth, np.float32)


def add_head_motion(flow_F2gg: Tensor, face: NDArray[np.float32], gestures_FG: NDArray[np.float32]) -> Tensor:
    """The flow of clips whose head moves by `gestures` in addition; the border of the square rests.

    Args:
        flow_F2gg: backward flow in units of the square's side.
        face: (478, 2) landmarks of the reference, in the same units.
        gestures_FG: in the order and units of `openemo.face.gestures`.
    """
    grid = flow_F2gg.shape[-1]
    ticks = (torch.arange(grid) + 0.5) / grid
    places_gg2 = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)
    pivot = torch.from_numpy(face[list(STABLE), :2].mean(0)).float()
    _, right, down, closer, roll = torch.from_numpy(gestures_FG * GESTURE_UNITS).float().unbind(1)
    shift_F2 = torch.stack([right, down], 1) * face_width_px(face)
    scale, cos, sin = torch.exp(-closer), torch.cos(roll), torch.sin(roll)
    # The inverse of "turned and enlarged about the pivot, then shifted".
    back_F22 = scale[:, None, None] * torch.stack(
        [torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1
    )
    away = places_gg2 - pivot - shift_F2[:, None, None]
    sources = torch.einsum("fij,fhwj->fhwi", back_F22, away) + pivot
    moved = (sources - places_gg2) * _within(places_gg2, face)[..., None]
    at = 2 * (places_gg2 + moved) - 1
    before = F.grid_sample(flow_F2gg, at, padding_mode="border", align_corners=False)
    return before + moved.permute(0, 3, 1, 2)


def _within(places_gg2: Tensor, face: NDArray[np.float32]) -> Tensor:
    """(g, g) 1 in the box of the face, falling to 0 at the border of the square."""
    oval = torch.from_numpy(face[list(FACE_OVAL), :2])
    low, high = oval.amin(0).clamp_min(0.02), oval.amax(0).clamp_max(0.98)
    inside = torch.minimum(places_gg2 / low, (1 - places_gg2) / (1 - high)).clamp(0, 1)
    return inside.prod(-1)
