"""More movement of the lips than a denoiser gives them, which predicts the mean of what may be said."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openemo.models.rigid import rigid_motion

__all__ = ["LipMotion"]


@dataclass(frozen=True, slots=True)
class LipMotion:
    """A factor on what the mouth does beyond going with the head.

    Attributes:
        gain_11gg: the factor, on the flow's own grid.
        skull_K2: points at rest, in units of the side, that go with the head and do nothing else.
    """

    gain_11gg: Tensor
    skull_K2: Tensor

    def __call__(self, flow_N2gg: Tensor) -> Tensor:
        """The backward flow, in units of the side, with lips that move so much more."""
        height, width = flow_N2gg.shape[-2:]
        x = (torch.arange(width, device=flow_N2gg.device) + 0.5) / width
        y = (torch.arange(height, device=flow_N2gg.device) + 0.5) / height
        places_gg2 = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        head_Ngg2 = rigid_motion(self.skull_K2, flow_N2gg).back(places_gg2) - places_gg2
        return flow_N2gg + (self.gain_11gg - 1) * (flow_N2gg - head_Ngg2.permute(0, 3, 1, 2))
