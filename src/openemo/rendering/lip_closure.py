"""Closes lips that are apart in the photo.

The flow grid is too coarse for the step between two lips: it spreads the step over a cell or two, so the lips
are squeezed instead of the gap, and a gap of one cell never closes. The flow further inside each lip is
reliable. So each lip's own motion is read there and used up to the lip's edge.

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
        offset_and_weight_12hw: in the reference: distance below the middle of the gap, in units of the side;
            and weight of this flow in [0, 1].
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
        shift_N2 = (move_points(self.lip_edges_22, flow_N2gg) - self.lip_edges_22).mean(1)
        offset_Nhw1, weight_Nhw1 = self._sample_map(positions_hw2 - shift_N2[:, None, None]).chunk(2, -1)
        upper_Nhw2, lower_Nhw2 = (
            sample_flow(flow_N2gg, positions_hw2 + distance_Nhw1 * self.down_2)
            for distance_Nhw1 in (
                (-self.reach - offset_Nhw1).clamp(-2 * self.reach, 0),
                (self.reach - offset_Nhw1).clamp(0, 2 * self.reach),
            )
        )
        # Distance of the source below the middle of the gap, if the position moved with either lip. Beyond
        # the edge of the nearer lip the source is in the gap, never in the other lip.
        upper_offset, lower_offset = (
            self._sample_map(positions_hw2 + flow)[..., :1] for flow in (upper_Nhw2, lower_Nhw2)
        )
        is_upper = upper_offset + lower_offset < 0
        excess = torch.where(is_upper, upper_offset.clamp_min(0), lower_offset.clamp_max(0))
        lips_Nhw2 = torch.where(is_upper, upper_Nhw2, lower_Nhw2) - excess * self.down_2
        result_N2GG = fine_flow_N2GG.clone()
        result_N2GG[..., y0:y1, x0:x1].permute(0, 2, 3, 1).lerp_(lips_Nhw2, weight_Nhw1)
        return result_N2GG

    def _sample_map(self, positions_Nhw2: Tensor) -> Tensor:
        """(N, h, w, 2): `offset_and_weight_12hw` at positions of the reference."""
        maps = self.offset_and_weight_12hw.expand(len(positions_Nhw2), -1, -1, -1)
        return sample_maps(maps, positions_Nhw2, self.box).permute(0, 2, 3, 1)
