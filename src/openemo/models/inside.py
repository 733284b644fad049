"""What lips hide: teeth and the dark behind them, shown where a mouth opens.

A warp has nothing to put between lips that were closed in the photo, and a decoder that is told only the flow
draws the mean of all mouths, a grey plate. But teeth are rigid: the upper ones move with the skull, the lower
ones with the jaw, and both motions are in the flow. So they are layers of the portrait, drawn once, moved
with skull and jaw, and seen where the flow tears the lips apart. A photo that shows teeth keeps its own.

Shapes: N frames of one portrait, H x W of its square, h x w of the box around its mouth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.models.flow import source_area, torn

__all__ = ["TEETH_EDGE", "TEETH_SIZE", "TEETH_WIDTH", "MouthInside", "rigid_motion"]

# The picture of a row of upper teeth: height and width, cells across a smiling mouth, row of the biting edge.
TEETH_SIZE: Final = (48, 96)
TEETH_WIDTH: Final = 80
TEETH_EDGE: Final = 36


@dataclass(frozen=True, slots=True)
class MouthInside:
    """Layers of one portrait within a box around its mouth.

    Attributes:
        box: x0, y0, x1, y1 in units of the square's side; all layers fill it.
        upper_14hw: RGB in [-1, 1] and opacity in [0, 1]; what moves with the skull.
        lower_13hw: RGB; what moves with the jaw behind it, lower teeth and darkness.
        gap_11hw: [0, 1], where the photo itself shows the inside; those pixels are in `upper_14hw`.
        skull_K2, jaw_J2: points at rest, in units of the side, whose motion is that of skull and jaw.
    """

    box: tuple[float, float, float, float]
    upper_14hw: Tensor
    lower_13hw: Tensor
    gap_11hw: Tensor
    skull_K2: Tensor
    jaw_J2: Tensor

    def to(self, device: torch.device) -> Self:
        """The layers on another device, always float32."""
        names = ("upper_14hw", "lower_13hw", "gap_11hw", "skull_K2", "jaw_J2")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def paint(self, frames_N3HW: Tensor, flow_N2gg: Tensor) -> Tensor:
        """The frames with the inside of the mouth where it is open.

        Args:
            frames_N3HW: in [-1, 1], moved by the flow; the box is painted over in place.
            flow_N2gg: backward flow in units of the side, on its own grid.
        """
        height, width = frames_N3HW.shape[-2:]
        columns = slice(round(self.box[0] * width), round(self.box[2] * width))
        rows = slice(round(self.box[1] * height), round(self.box[3] * height))
        part = frames_N3HW[..., rows, columns]
        x = (torch.arange(columns.start, columns.stop, device=part.device) + 0.5) / width
        y = (torch.arange(rows.start, rows.stop, device=part.device) + 0.5) / height
        places_hw2 = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)

        known = torch.cat([flow_N2gg.float(), source_area(flow_N2gg)], 1)
        known = _sample(known, places_hw2.expand(len(known), -1, -1, -1), (0.0, 0.0, 1.0, 1.0))
        shown = self._layer(self.gap_11hw, places_hw2 + known[:, :2].permute(0, 2, 3, 1))
        opened = torch.maximum(torn(known[:, 2:]), shown)
        if not opened.any():
            return frames_N3HW
        skull = rigid_motion(self.skull_K2, flow_N2gg)
        jaw = _Motion(skull.turn_N22, self.jaw_J2.mean(0), _moved(self.jaw_J2, flow_N2gg).mean(1))
        upper = self._layer(self.upper_14hw, skull.back(places_hw2))
        lower = self._layer(self.lower_13hw, jaw.back(places_hw2))
        inside = torch.lerp(lower, upper[:, :3], upper[:, 3:])
        frames_N3HW[..., rows, columns] = torch.lerp(part, inside.to(part.dtype), opened.to(part.dtype))
        return frames_N3HW

    def _layer(self, layer_1Chw: Tensor, places_Nhw2: Tensor) -> Tensor:
        return _sample(layer_1Chw.float().expand(len(places_Nhw2), -1, -1, -1), places_Nhw2, self.box)


@dataclass(frozen=True, slots=True)
class _Motion:
    """x -> turn (x - rest) + now, for each of N frames."""

    turn_N22: Tensor
    rest_2: Tensor
    now_N2: Tensor

    def back(self, places_hw2: Tensor) -> Tensor:
        """Where places of the frames were at rest, (N, h, w, 2)."""
        away = places_hw2 - self.now_N2[:, None, None]
        return torch.einsum("nij,nhwj->nhwi", torch.linalg.inv(self.turn_N22), away) + self.rest_2


def rigid_motion(points_K2: Tensor, flow_N2gg: Tensor) -> _Motion:
    """Rotation, scale and shift that carry points along best, by least squares (Umeyama 1991).

    Args:
        points_K2: at rest, in units of the side.
        flow_N2gg: backward flow in units of the side.
    """
    moved = _moved(points_K2, flow_N2gg)
    rest, now = points_K2.mean(0), moved.mean(1)
    a, b = points_K2 - rest, moved - now[:, None]
    power = a.square().sum()
    cos = (a * b).sum((1, 2)) / power
    sin = (a[:, 0] * b[..., 1] - a[:, 1] * b[..., 0]).sum(1) / power
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    return _Motion(turn, rest, now)


def _moved(points_K2: Tensor, flow_N2gg: Tensor) -> Tensor:
    """Where points go, (N, K, 2): the flow tells for each place where it comes from, so it is solved for."""
    rest = points_K2[None].expand(len(flow_N2gg), -1, -1)
    moved = rest
    for _ in range(3):
        flow = _sample(flow_N2gg.float(), moved[:, :, None], (0.0, 0.0, 1.0, 1.0))
        moved = rest - flow[..., 0].transpose(1, 2)
    return moved


def _sample(maps_NCgg: Tensor, places_Nhw2: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """Maps that fill a box, read at places (N, h, w, 2) in units of the square's side; borders repeat."""
    low = places_Nhw2.new_tensor(box[:2])
    size = places_Nhw2.new_tensor(box[2:]) - low
    grid = (places_Nhw2 - low) / size * 2 - 1
    return F.grid_sample(maps_NCgg, grid, mode="bilinear", padding_mode="border", align_corners=False)
