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
from torch import Tensor

from openemo.models.flow import source_area
from openemo.models.rigid import WHOLE, RigidMotion, moved_points, rigid_motion, sample_places
from openemo.models.seam import LipSeam

__all__ = ["TEETH_ARCH", "TEETH_EDGE", "TEETH_LINES", "TEETH_SIZE", "TEETH_WIDTH", "MouthInside"]

# The picture of a row of upper teeth: height and width, cells across a smiling mouth, row of the biting edge.
TEETH_SIZE: Final = (96, 192)
TEETH_WIDTH: Final = 160
TEETH_EDGE: Final = 72
# Lines between these teeth, in cells from the middle: of the incisors, the canine and the first premolar.
TEETH_LINES: Final = (0, 22, 38, 53, 65)
TEETH_ARCH: Final = 0.0035  # rows that the edge rises, over the square of the way from the middle in cells
_SKIN: Final = 0.95  # of its own area: lips and skin are drawn out so far without parting
_SOFT_PX: Final = 2.0  # width of the edge of a lip


@dataclass(frozen=True, slots=True)
class MouthInside:
    """Layers of one portrait within a box around its mouth.

    Attributes:
        box: x0, y0, x1, y1 in units of the square's side; all layers fill it.
        upper_14hw: RGB in [-1, 1] and opacity in [0, 1]; what moves with the skull.
        lower_13hw: RGB; what moves with the jaw behind it, lower teeth and darkness.
        near_11hw: [0, 1], where lips may part.
        gap_11hw: [0, 1], where the photo itself shows the inside; those pixels are in `upper_14hw`.
        torn_gg2: where the flow is read for each place of a finer grid, in units of the side: it goes by
            landmarks, and these miss the edges of lips by a few pixels.
        held_gg3: for each place of that grid one between the lips, and how far it moves as that one does, 0
            to 1: towards the corners lips hold together, which a flow of cells does not know.
        skull_K2, jaw_J2: points at rest, in units of the side, whose motion is that of skull and jaw.
        seam: between lips that are apart in the photo; None where they meet.
    """

    box: tuple[float, float, float, float]
    upper_14hw: Tensor
    lower_13hw: Tensor
    near_11hw: Tensor
    gap_11hw: Tensor
    torn_gg2: Tensor
    held_gg3: Tensor
    skull_K2: Tensor
    jaw_J2: Tensor
    seam: LipSeam | None = None

    def to(self, device: torch.device) -> Self:
        """The layers on another device, always float32."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "box"}
        return replace(self, **{name: part.to(device) for name, part in parts.items() if part is not None})

    def settle(self, flow_N2gg: Tensor) -> Tensor:
        """The flow on the finer grid, parting lips where they meet in the photo, and not at their corners."""
        parted, held = (
            sample_places(flow_N2gg.float(), places_gg2.expand(len(flow_N2gg), -1, -1, -1), WHOLE)
            for places_gg2 in (self.torn_gg2, self.held_gg3[..., :2])
        )
        settled = torch.lerp(parted, held, self.held_gg3[..., 2])
        return settled if self.seam is None else self.seam.stiffen(settled, flow_N2gg)

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
        known = sample_places(known, places_hw2.expand(len(known), -1, -1, -1), WHOLE)
        sources_Nhw2 = places_hw2 + known[:, :2].permute(0, 2, 3, 1)
        gap_and_near = torch.cat([self.gap_11hw, self.near_11hw], 1)
        shown, near = self._layer(gap_and_near, sources_Nhw2).chunk(2, 1)
        opened = torch.maximum(_parted(known[:, 2:], near), shown)
        if not opened.any():
            return frames_N3HW
        skull = rigid_motion(self.skull_K2, flow_N2gg)
        jaw = RigidMotion(skull.turn_N22, self.jaw_J2.mean(0), moved_points(self.jaw_J2, flow_N2gg).mean(1))
        upper = self._layer(self.upper_14hw, skull.back(places_hw2))
        lower = self._layer(self.lower_13hw, jaw.back(places_hw2))
        inside = torch.lerp(lower, upper[:, :3], upper[:, 3:])
        frames_N3HW[..., rows, columns] = torch.lerp(part, inside.to(part.dtype), opened.to(part.dtype))
        return frames_N3HW

    def _layer(self, layer_1Chw: Tensor, places_Nhw2: Tensor) -> Tensor:
        return sample_places(layer_1Chw.float().expand(len(places_Nhw2), -1, -1, -1), places_Nhw2, self.box)


def _parted(area_N1hw: Tensor, near_N1hw: Tensor) -> Tensor:
    """0 to 1, (N, 1, h, w): the gap between lips, in each column as high as the flow draws the picture out.

    A flow of cells spreads an opening over its neighbourhood, so that no limit of its derivative gives the
    opening's height: it would stay shut for long and then spring open.

    Args:
        area_N1hw: `source_area`. near_N1hw: where what is drawn out was between the lips.
    """
    lost = ((_SKIN - area_N1hw) / _SKIN).clamp(0, 1) * near_N1hw
    height = lost.sum(2, keepdim=True)
    rows = torch.arange(lost.shape[2], device=lost.device, dtype=lost.dtype)[:, None]
    middle = (lost * rows).sum(2, keepdim=True) / height.clamp_min(1e-6)
    return ((height / 2 - (rows - middle).abs()) / _SOFT_PX + 0.5).clamp(0, 1) * height.clamp_max(1)
