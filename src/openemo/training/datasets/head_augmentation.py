"""Random head motion, added to training clips.

In a clip of one speaker the head nods with the jaw. A network that is told the head motion
(`motion_conditions`) then moves the mouth along with it. The motion that is added here is independent of the
audio.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from openemo.face.landmarks import FACE_OVAL, STABLE, face_width_px
from openemo.face.motion_conditions import MOTION_CONDITION_UNITS, MOTION_CONDITIONS
from openemo.face.smooth_noise import smooth_noise, unit_gain
from openemo.grids import centre_grid

__all__ = ["add_head_motion", "random_head_motion"]

_SIGMA_FRAMES: Final = 6.0


def random_head_motion(num_frames: int, spread: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(F, 5) motion conditions to add: smooth, 0 for the eyes, standard deviation `spread` for the head."""
    smooth = smooth_noise(
        num_frames, len(MOTION_CONDITIONS), _SIGMA_FRAMES, rng, margin=int(3 * _SIGMA_FRAMES)
    )
    smooth *= spread * unit_gain(_SIGMA_FRAMES)
    smooth[:, 0] = 0
    return np.asarray(smooth, np.float32)


def add_head_motion(
    flow_F2gg: Tensor, face: NDArray[np.float32], motion_conditions_FK: NDArray[np.float32]
) -> Tensor:
    """The flow of frames whose head moves by `motion_conditions` in addition. The border of the square rests.

    Args:
        flow_F2gg: backward flow in units of the square's side.
        face: (478, 2) landmarks of the reference, in the same units.
        motion_conditions_FK: in the order and units of `openemo.face.motion_conditions`.
    """
    positions_gg2 = centre_grid(flow_F2gg.shape[-1], flow_F2gg.shape[-1])
    pivot = torch.from_numpy(face[list(STABLE), :2].mean(0)).float()
    _, right, down, closer, roll = (
        torch.from_numpy(motion_conditions_FK * MOTION_CONDITION_UNITS).float().unbind(1)
    )
    shift_F2 = torch.stack([right, down], 1) * face_width_px(face)
    scale, cos, sin = torch.exp(-closer), torch.cos(roll), torch.sin(roll)
    # The inverse of "rotated and scaled about the pivot, then shifted".
    inverse_F22 = scale[:, None, None] * torch.stack(
        [torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], 1
    )
    offsets = positions_gg2 - pivot - shift_F2[:, None, None]
    sources = torch.einsum("fij,fhwj->fhwi", inverse_F22, offsets) + pivot
    moved = (sources - positions_gg2) * _head_mask(positions_gg2, face)[..., None]
    before = F.grid_sample(
        flow_F2gg, 2 * (positions_gg2 + moved) - 1, padding_mode="border", align_corners=False
    )
    return before + moved.permute(0, 3, 1, 2)


def _head_mask(positions_gg2: Tensor, face: NDArray[np.float32]) -> Tensor:
    """(g, g) 1 in the box of the face, falling to 0 at the border of the square."""
    oval = torch.from_numpy(face[list(FACE_OVAL), :2])
    low, high = oval.amin(0).clamp_min(0.02), oval.amax(0).clamp_max(0.98)
    inside = torch.minimum(positions_gg2 / low, (1 - positions_gg2) / (1 - high)).clamp(0, 1)
    return inside.prod(-1)
