"""What a flow says of stiff parts of a face: where points go, and the motion that carries them along best.

Shapes: N frames, K points, g x g the flow's own grid, h x w any grid of places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["WHOLE", "RigidMotion", "moved_points", "rigid_motion", "sample_places"]

WHOLE: Final = (0.0, 0.0, 1.0, 1.0)  # the box of maps that fill the square


@dataclass(frozen=True, slots=True)
class RigidMotion:
    """x -> turn (x - rest) + now, for each of N frames."""

    turn_N22: Tensor
    rest_2: Tensor
    now_N2: Tensor

    def back(self, places_hw2: Tensor) -> Tensor:
        """Where places of the frames were at rest, (N, h, w, 2)."""
        away = places_hw2 - self.now_N2[:, None, None]
        return torch.einsum("nij,nhwj->nhwi", torch.linalg.inv(self.turn_N22), away) + self.rest_2


def rigid_motion(points_K2: Tensor, flow_N2gg: Tensor) -> RigidMotion:
    """Rotation, scale and shift that carry points along best, by least squares (Umeyama 1991).

    Args:
        points_K2: at rest, in units of the side.
        flow_N2gg: backward flow in units of the side.
    """
    moved = moved_points(points_K2, flow_N2gg)
    rest, now = points_K2.mean(0), moved.mean(1)
    a, b = points_K2 - rest, moved - now[:, None]
    power = a.square().sum()
    cos = (a * b).sum((1, 2)) / power
    sin = (a[:, 0] * b[..., 1] - a[:, 1] * b[..., 0]).sum(1) / power
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    return RigidMotion(turn, rest, now)


def moved_points(points_K2: Tensor, flow_N2gg: Tensor) -> Tensor:
    """Where points go, (N, K, 2): the flow tells for each place where it comes from, so it is solved for."""
    rest = points_K2[None].expand(len(flow_N2gg), -1, -1)
    moved = rest
    for _ in range(3):
        flow = sample_places(flow_N2gg.float(), moved[:, :, None], WHOLE)
        moved = rest - flow[..., 0].transpose(1, 2)
    return moved


def sample_places(maps_NCgg: Tensor, places_Nhw2: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """Maps that fill a box, read at places (N, h, w, 2) in units of the square's side; borders repeat."""
    low = places_Nhw2.new_tensor(box[:2])
    size = places_Nhw2.new_tensor(box[2:]) - low
    grid = (places_Nhw2 - low) / size * 2 - 1
    return F.grid_sample(maps_NCgg, grid, mode="bilinear", padding_mode="border", align_corners=False)
