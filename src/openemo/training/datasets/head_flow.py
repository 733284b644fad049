"""The flow of a head that turns as a rigid body: what the network learns to make of its head conditions.

Training only. The landmark network's depth is turned about a point under the chin; between and around the
landmarks the depth is interpolated. At inference nothing knows the depth of a face: the network does.

Shapes: F frames, g x g the grid of the flow.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from openemo.arrays import Floats
from openemo.face.landmarks import FACE_OVAL, NOSE, STABLE, face_width_px, neck_pivot
from openemo.grids import centre_array, centre_grid

__all__ = ["HEAD_STRIDE", "depth_map", "head_flow", "turn_points"]

HEAD_STRIDE: Final = 8  # pixels per cell of the head's flow

_DEPTH_POINTS: Final = sorted({*FACE_OVAL, *NOSE, *STABLE, 50, 280, 205, 425, 187, 411, 18, 17, 0, 13})
_FIXED_POINT_STEPS: Final = 4


def turn_points(points: Floats, head_F6: Floats) -> Floats:
    """(F, K, 3): points of a head that is turned and moved.

    Args:
        points: (478, 3) landmarks of the portrait.
        head_F6: in the order and units of `openemo.behaviour.HEAD_AXES`.
    """
    pivot = neck_pivot(points)
    turned = np.einsum("fij,kj->fki", _rotation(head_F6), points - pivot)
    return np.asarray(turned + pivot + _shift(points, head_F6)[:, None])


def depth_map(points: Floats, grid: int) -> NDArray[np.float32]:
    """(grid, grid): depth at the cells of a square, from landmarks (478, 3) in units of its side."""
    known = points[_DEPTH_POINTS].astype(np.float64)
    cells = centre_array(grid)
    positions = np.stack(np.meshgrid(cells, cells), -1).reshape(-1, 2)
    smooth = RBFInterpolator(known[:, :2], known[:, 2], kernel="linear", degree=0, smoothing=1e-3)
    return np.asarray(smooth(positions).reshape(grid, grid), np.float32)


def head_flow(points: Floats, depth_gg: NDArray[np.float32], head_F6: Floats) -> Tensor:
    """(F, 2, g, g) backward flow in units of the square's side.

    Args:
        points: (478, 3) landmarks of the reference, in the same units.
        depth_gg: from `depth_map`.
    """
    grid = depth_gg.shape[0]
    positions = centre_grid(grid, grid)
    depth = torch.from_numpy(depth_gg)[None, None]
    pivot = torch.from_numpy(neck_pivot(points)).float()
    rotation = torch.from_numpy(_rotation(head_F6)).float()
    shift = torch.from_numpy(_shift(points, head_F6)).float()[:, None, None]
    target = positions.expand(len(head_F6), -1, -1, -1)
    source = target
    # A point of the reference moves forward; its inverse is a fixed point.
    for _ in range(_FIXED_POINT_STEPS):
        z = F.grid_sample(
            depth.expand(len(source), -1, -1, -1), 2 * source - 1, padding_mode="border", align_corners=False
        )
        solid = torch.cat([source, z.permute(0, 2, 3, 1)], -1)
        moved = torch.einsum("fij,fhwj->fhwi", rotation, solid - pivot) + pivot + shift
        source = source + target - moved[..., :2]
    return (source - positions).permute(0, 3, 1, 2)


def _rotation(head_F6: Floats) -> NDArray[np.float64]:
    """(F, 3, 3): Rz(roll) Rx(pitch) Ry(yaw), as `head_pose` reads them, times the scale."""
    yaw, pitch, roll = np.radians(np.asarray(head_F6, np.float64)[:, :3].T)
    one, zero = np.ones_like(yaw), np.zeros_like(yaw)
    turn_y = [np.cos(yaw), zero, -np.sin(yaw), zero, one, zero, np.sin(yaw), zero, np.cos(yaw)]
    turn_x = [one, zero, zero, zero, np.cos(pitch), np.sin(pitch), zero, -np.sin(pitch), np.cos(pitch)]
    turn_z = [np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll), zero, zero, zero, one]
    ry, rx, rz = (np.stack(turn, -1).reshape(-1, 3, 3) for turn in (turn_y, turn_x, turn_z))
    return np.asarray(rz @ rx @ ry * np.exp(head_F6[:, 5])[:, None, None])


def _shift(points: Floats, head_F6: Floats) -> NDArray[np.float64]:
    """(F, 3)."""
    moved = np.asarray(head_F6, np.float64)[:, 3:5] * face_width_px(points)
    return np.concatenate([moved, np.zeros((len(moved), 1))], 1)
