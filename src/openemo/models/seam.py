"""Lips that are apart in the photo, and how they meet.

A flow of cells spreads the step between two lips over a cell or two: the lips are pressed together instead of
the gap, and one that is as high as a cell never shuts. Further in, each lip's own motion is known.

Shapes: N frames of one portrait, g x g the flow's grid, G x G a finer one, h x w any map of the box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from openemo.models.rigid import WHOLE, moved_points, sample_places

__all__ = ["LipSeam"]


@dataclass(frozen=True, slots=True)
class LipSeam:
    """Moves each lip up to its edge as it moves further in.

    Attributes:
        box: x0, y0, x1, y1 in units of the square's side; the map fills it.
        below_and_stiff_12hw: at rest, how far below the middle of the gap, in units of the side; and [0, 1],
            where this holds.
        edges_22: the middle of the upper and of the lower lip's edge at rest.
        down_2: unit vector across the mouth.
        reach: from the middle of the gap to where a lip's own motion is read, in units of the side.
    """

    box: tuple[float, float, float, float]
    below_and_stiff_12hw: Tensor
    edges_22: Tensor
    down_2: Tensor
    reach: float

    def to(self, device: torch.device) -> Self:
        tensors = ("below_and_stiff_12hw", "edges_22", "down_2")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})

    def stiffen(self, finer_N2GG: Tensor, flow_N2gg: Tensor) -> Tensor:
        """The flow with a step where the lips meet; `finer_N2GG` stays as it is.

        Args:
            finer_N2GG, flow_N2gg: a backward flow in units of the side, on a finer grid and on its own.
        """
        size = finer_N2GG.shape[-1]
        x0, y0, x1, y1 = (round(edge * size) for edge in self.box)
        ticks = (torch.arange(size, device=finer_N2GG.device) + 0.5) / size
        places_hw2 = torch.stack(torch.meshgrid(ticks[x0:x1], ticks[y0:y1], indexing="xy"), -1)
        shift_N2 = (moved_points(self.edges_22, flow_N2gg) - self.edges_22).mean(1)
        below_Nhw1, stiff_Nhw1 = self._map(places_hw2 - shift_N2[:, None, None]).chunk(2, -1)
        upper_Nhw2, lower_Nhw2 = (
            _flow(flow_N2gg, places_hw2 + away_Nhw1 * self.down_2)
            for away_Nhw1 in (
                (-self.reach - below_Nhw1).clamp(-2 * self.reach, 0),
                (self.reach - below_Nhw1).clamp(0, 2 * self.reach),
            )
        )
        # How far below the middle of the gap a place comes from, by either lip. Beyond the edge of the
        # nearer lip it comes from the gap, never from the other lip.
        from_upper, from_lower = (self._map(places_hw2 + flow)[..., :1] for flow in (upper_Nhw2, lower_Nhw2))
        is_upper = from_upper + from_lower < 0
        astray = torch.where(is_upper, from_upper.clamp_min(0), from_lower.clamp_max(0))
        stiffened_Nhw2 = torch.where(is_upper, upper_Nhw2, lower_Nhw2) - astray * self.down_2
        stepped_N2GG = finer_N2GG.clone()
        stepped_N2GG[..., y0:y1, x0:x1].permute(0, 2, 3, 1).lerp_(stiffened_Nhw2, stiff_Nhw1)
        return stepped_N2GG

    def _map(self, places_Nhw2: Tensor) -> Tensor:
        """(N, h, w, 2): `below_and_stiff_12hw` at places at rest."""
        maps = self.below_and_stiff_12hw.expand(len(places_Nhw2), -1, -1, -1)
        return sample_places(maps, places_Nhw2, self.box).permute(0, 2, 3, 1)


def _flow(flow_N2gg: Tensor, places_Nhw2: Tensor) -> Tensor:
    """(N, h, w, 2) at places."""
    return sample_places(flow_N2gg.float(), places_Nhw2, WHOLE).permute(0, 2, 3, 1)
