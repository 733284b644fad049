"""Moves each lip as a whole, up to its edge, so that lips part and meet at a sharp line.

The flow grid is too coarse for the step between two lips, and a denoiser predicts the mean of many steps: it
is spread over three or four cells. Lips would be stretched or squeezed instead of the gap: a band of one lip
would hang from the other where the mouth opens, and a gap of one cell would never close. The flow further
inside each lip is reliable. So each lip's own motion is read there and used up to the lip's edge.

Shapes: N frames of one portrait, g x g the flow's grid, G x G a finer one, h x w a map of the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.flow import sample_flow, sample_maps
from openemo.rendering.rigid_motion import move_points

__all__ = ["LipClosure"]


@dataclass(frozen=True, slots=True)
class LipClosure:
    """Moves each lip as a whole, up to its edge.

    Attributes:
        box: x0, y0, x1, y1 in units of the square's side; the map covers it.
        offset_and_weight_12hw: in the reference: distance below the middle of the gap, or below the line
            where lips meet, in units of the side; and weight of this flow in [0, 1].
        lip_edges_22: the middle of the upper and of the lower lip's edge, in the reference.
        down_2: unit vector across the mouth.
        reach: distance from the middle of the gap to where a lip's own motion is read, in units of the side.
    """

    box: tuple[float, float, float, float]
    offset_and_weight_12hw: Tensor
    lip_edges_22: Tensor
    down_2: Tensor
    reach: float

    def apply(self, fine_flow_N2GG: Tensor, flow_N2gg: Tensor) -> Tensor:
        """(N, 2, G, G): the fine flow with a sharp step where the lips meet; the input is not changed.

        Args:
            fine_flow_N2GG, flow_N2gg: the same backward flow in units of the side, on a finer grid and on its
                own.
        """
        size = fine_flow_N2GG.shape[-1]
        x0, y0, x1, y1 = (round(edge * size) for edge in self.box)
        positions_hw2 = centre_grid(
            size, size, rows=slice(y0, y1), columns=slice(x0, x1), device=fine_flow_N2GG.device
        )
        upper_Nhw2, lower_Nhw2 = self._own_motion(positions_hw2, flow_N2gg)
        # Distance of the source below the middle of the gap, if the position moved with either lip. Beyond
        # the edge of the nearer lip the source is in the gap, never in the other lip.
        upper, lower = (self._sample_map(positions_hw2 + flow)[..., :1] for flow in (upper_Nhw2, lower_Nhw2))
        is_upper = upper + lower < 0
        excess = torch.where(is_upper, upper.clamp_min(0), lower.clamp_max(0))
        lips_Nhw2 = torch.where(is_upper, upper_Nhw2, lower_Nhw2) - excess * self.down_2
        weight_Nhw1 = self._sample_map(positions_hw2 + lips_Nhw2)[..., 1:]
        result_N2GG = fine_flow_N2GG.clone()
        result_N2GG[..., y0:y1, x0:x1].permute(0, 2, 3, 1).lerp_(lips_Nhw2, weight_Nhw1)
        return result_N2GG

    def _own_motion(self, positions_hw2: Tensor, flow_N2gg: Tensor) -> tuple[Tensor, Tensor]:
        """The flow of the upper and of the lower lip, (N, h, w, 2) each, as if either were everywhere."""
        inward_22 = self.reach * torch.stack([-self.down_2, self.down_2])
        own_22 = self.lip_edges_22.mean(0) + inward_22
        moved_N22 = move_points(own_22, flow_N2gg) - own_22
        offset_Nhw1 = self._sample_map(positions_hw2 - moved_N22.mean(1)[:, None, None])[..., :1]
        # From the middle of the gap in the frame to where the lips move by themselves.
        parting_N = ((moved_N22[:, 1] - moved_N22[:, 0]) @ self.down_2).clamp_min(0)
        reach_N111 = (self.reach + parting_N / 2)[:, None, None, None]
        upper_Nhw1 = (-reach_N111 - offset_Nhw1).clamp_max(0).maximum(-2 * reach_N111)
        lower_Nhw1 = (reach_N111 - offset_Nhw1).clamp_min(0).minimum(2 * reach_N111)
        upper, lower = (
            sample_flow(flow_N2gg, positions_hw2 + distance * self.down_2)
            for distance in (upper_Nhw1, lower_Nhw1)
        )
        return upper, lower

    def _sample_map(self, positions_Nhw2: Tensor) -> Tensor:
        """(N, h, w, 2): `offset_and_weight_12hw` at positions of the reference."""
        maps = self.offset_and_weight_12hw.expand(len(positions_Nhw2), -1, -1, -1)
        return sample_maps(maps, positions_Nhw2, self.box).permute(0, 2, 3, 1)
