"""Scales the motion of the lips: a denoiser predicts the mean of plausible motions, which is too small."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.rigid_motion import rigid_motion

__all__ = ["LipMotion"]


@dataclass(frozen=True, slots=True)
class LipMotion:
    """A gain on the motion of the mouth relative to the head.

    Attributes:
        gain_11gg: factor for each cell of the flow; 1 leaves the motion as it is.
        skull_points_K2: points that move with the head only, in the reference, in units of the side.
    """

    gain_11gg: Tensor
    skull_points_K2: Tensor

    def __call__(self, flow_N2gg: Tensor) -> Tensor:
        """The backward flow, in units of the side, with the gain applied; head motion is unchanged."""
        height, width = flow_N2gg.shape[-2:]
        positions_gg2 = centre_grid(height, width, device=flow_N2gg.device)
        head_Ngg2 = rigid_motion(self.skull_points_K2, flow_N2gg).inverse(positions_gg2) - positions_gg2
        return flow_N2gg + (self.gain_11gg - 1) * (flow_N2gg - head_Ngg2.permute(0, 3, 1, 2))
