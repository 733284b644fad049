"""Motion of the rigid parts of a face, skull and jaw, read from a flow.

`openemo.face.similarity` fits the same transform with numpy, in float64 and for one frame. This one runs in
float32 for all frames at once, on the device of the flow.

Shapes: N frames, K points, g x g the flow's grid, h x w any grid of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openemo.rendering.flow import sample_flow

__all__ = ["RigidMotion", "move_points", "rigid_motion"]


@dataclass(frozen=True, slots=True)
class RigidMotion:
    """x -> matrix (x - rest) + moved, for each of N frames.

    Attributes:
        matrix_N22: rotation times scale; the scale is the distance to the camera.
        rest_2, moved_N2: one point in the reference and in each frame, in units of the side.
    """

    matrix_N22: Tensor
    rest_2: Tensor
    moved_N2: Tensor

    def inverse(self, positions_hw2: Tensor) -> Tensor:
        """(N, h, w, 2): where positions of the frames were in the reference."""
        offset = positions_hw2 - self.moved_N2[:, None, None]
        return torch.einsum("nij,nhwj->nhwi", torch.linalg.inv(self.matrix_N22), offset) + self.rest_2


def rigid_motion(points_K2: Tensor, flow_N2gg: Tensor) -> RigidMotion:
    """Rotation, scale and shift that fit the motion of points best, by least squares (Umeyama 1991).

    Args:
        points_K2: in the reference, in units of the side.
        flow_N2gg: backward flow in units of the side.
    """
    points_NK2 = move_points(points_K2, flow_N2gg)
    rest, moved = points_K2.mean(0), points_NK2.mean(1)
    a, b = points_K2 - rest, points_NK2 - moved[:, None]
    power = a.square().sum()
    cos = (a * b).sum((1, 2)) / power
    sin = (a[:, 0] * b[..., 1] - a[:, 1] * b[..., 0]).sum(1) / power
    matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    return RigidMotion(matrix, rest, moved)


def move_points(points_K2: Tensor, flow_N2gg: Tensor) -> Tensor:
    """(N, K, 2): where points of the reference are in each frame.

    A backward flow says where each position comes from, so its inverse is found by fixed-point iteration.
    """
    rest = points_K2[None].expand(len(flow_N2gg), -1, -1)
    moved = rest
    for _ in range(3):
        moved = rest - sample_flow(flow_N2gg, moved[:, :, None])[:, :, 0]
    return moved
