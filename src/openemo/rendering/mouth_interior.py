"""Teeth, tongue and cavity: layers of a portrait that appear where the mouth opens.

A warp has no pixels to show between lips that are closed in the photo. A decoder that reads only the flow
draws the mean of all mouths, a grey plate. But teeth are rigid: the upper ones move with the skull, the lower
ones with the jaw, and the flow holds both motions. So the teeth are drawn once, moved with skull and jaw, and
shown where the flow stretches the image between the lips. A photo that shows teeth keeps its own.

Shapes: N frames of one portrait, H x W of its square, h x w of the box around its mouth, g x g the flow's
grid, G x G a finer one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import torch
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.drawn_mouth import DrawnMouth
from openemo.rendering.flow import FULL_BOX, jacobian_determinant, sample_maps
from openemo.rendering.lip_closure import LipClosure
from openemo.rendering.picture_manner import PHOTO, PictureManner
from openemo.rendering.rigid_motion import RigidMotion, move_points, rigid_motion

__all__ = [
    "SMILE_WIDTH_CELLS",
    "TEETH_ARCH",
    "TEETH_BOUNDARIES",
    "TEETH_EDGE_ROW",
    "TEETH_SIZE",
    "MouthInterior",
]

# The image of a row of upper teeth, in cells.
TEETH_SIZE: Final = (96, 192)  # height and width
SMILE_WIDTH_CELLS: Final = 160  # width of a smiling mouth
TEETH_EDGE_ROW: Final = 72  # row of the biting edge, in the middle
TEETH_ARCH: Final = 0.0035  # rows that the edge rises, over the square of the distance from the middle
# Boundaries between teeth, from the middle outwards: incisors, canine, first premolar.
TEETH_BOUNDARIES: Final = (0, 22, 38, 53, 65)
_SKIN_AREA: Final = 0.95  # of its own area: lips and skin are stretched to this without parting
_SOFT_EDGE_PX: Final = 2.0  # width of a lip's edge


@dataclass(frozen=True, slots=True)
class MouthInterior:
    """Layers of one portrait within a box around its mouth. Positions are in units of the square's side.

    Attributes:
        box: x0, y0, x1, y1; all layers with h x w cover it.
        upper_layer_14hw: RGB in [-1, 1] and opacity in [0, 1]; moves with the skull.
        lower_layer_13hw: RGB in [-1, 1]; lower teeth, tongue and cavity, behind the upper layer; moves with
            the jaw.
        lip_region_11hw: [0, 1], where lips may part.
        visible_gap_11hw: [0, 1], where the photo itself shows the inside; its pixels are in
            `upper_layer_14hw`.
        flow_positions_GG2: where the flow is read for each cell of the finer grid. The flow follows
            landmarks, which miss the edges of the lips by a few pixels.
        mouth_line_GG3: for each cell of the finer grid a position between the lips, and the weight of the
            flow there, 0 to 1. Towards the corners lips hold together, which the flow grid is too coarse for.
        skull_points_K2, jaw_points_J2: points of the reference that move with skull and jaw.
        lip_closure: for lips that are apart in the photo; None where they meet.
        drawn_mouth: of a drawing, takes the place of all layers; None else.
        manner: how the portrait is made.
    """

    box: tuple[float, float, float, float]
    upper_layer_14hw: Tensor
    lower_layer_13hw: Tensor
    lip_region_11hw: Tensor
    visible_gap_11hw: Tensor
    flow_positions_GG2: Tensor
    mouth_line_GG3: Tensor
    skull_points_K2: Tensor
    jaw_points_J2: Tensor
    lip_closure: LipClosure | None = None
    drawn_mouth: DrawnMouth | None = None
    manner: PictureManner = PHOTO

    def to(self, device: torch.device) -> Self:
        """The layers on another device; they stay float32."""
        return replace(
            self,
            upper_layer_14hw=self.upper_layer_14hw.to(device),
            lower_layer_13hw=self.lower_layer_13hw.to(device),
            lip_region_11hw=self.lip_region_11hw.to(device),
            visible_gap_11hw=self.visible_gap_11hw.to(device),
            flow_positions_GG2=self.flow_positions_GG2.to(device),
            mouth_line_GG3=self.mouth_line_GG3.to(device),
            skull_points_K2=self.skull_points_K2.to(device),
            jaw_points_J2=self.jaw_points_J2.to(device),
            lip_closure=None if self.lip_closure is None else self.lip_closure.to(device),
            drawn_mouth=None if self.drawn_mouth is None else self.drawn_mouth.to(device),
        )

    def refine_flow(self, flow_N2gg: Tensor) -> Tensor:
        """(N, 2, G, G): the flow on the finer grid. Lips part where they meet in the photo, not at corners.

        Args:
            flow_N2gg: backward flow in units of the side.
        """
        if self.drawn_mouth is not None:  # nothing is to be torn
            return flow_N2gg.float()
        flow_N2GG, line_N2GG = (
            sample_maps(flow_N2gg.float(), positions_GG2.expand(len(flow_N2gg), -1, -1, -1), FULL_BOX)
            for positions_GG2 in (self.flow_positions_GG2, self.mouth_line_GG3[..., :2])
        )
        refined = torch.lerp(flow_N2GG, line_N2GG, self.mouth_line_GG3[..., 2])
        return refined if self.lip_closure is None else self.lip_closure.apply(refined, flow_N2gg)

    def composite(self, frames_N3HW: Tensor, flow_N2gg: Tensor) -> Tensor:
        """The frames with the inside of the mouth drawn where it is open.

        Args:
            frames_N3HW: in [-1, 1], warped by the flow; changed in place.
            flow_N2gg: backward flow in units of the side, on any grid.
        """
        height, width = frames_N3HW.shape[-2:]
        columns = slice(round(self.box[0] * width), round(self.box[2] * width))
        rows = slice(round(self.box[1] * height), round(self.box[3] * height))
        region = frames_N3HW[..., rows, columns]
        positions_hw2 = centre_grid(height, width, rows=rows, columns=columns, device=region.device)
        if self.drawn_mouth is not None:
            frames_N3HW[..., rows, columns] = self.drawn_mouth.composite(region, positions_hw2, flow_N2gg)
            return frames_N3HW

        flow_and_area = torch.cat([flow_N2gg.float(), jacobian_determinant(flow_N2gg)], 1)
        flow_and_area = sample_maps(
            flow_and_area, positions_hw2.expand(len(flow_and_area), -1, -1, -1), FULL_BOX
        )
        sources_Nhw2 = positions_hw2 + flow_and_area[:, :2].permute(0, 2, 3, 1)
        gap_and_lips = torch.cat([self.visible_gap_11hw, self.lip_region_11hw], 1)
        visible_gap, lip_region = self._sample_layer(gap_and_lips, sources_Nhw2).chunk(2, 1)
        opening = torch.maximum(_opening_mask(flow_and_area[:, 2:], lip_region), visible_gap)
        if not opening.any():
            return frames_N3HW
        inside = self._inside(positions_hw2, flow_N2gg)
        frames_N3HW[..., rows, columns] = torch.lerp(
            region, inside.to(region.dtype), opening.to(region.dtype)
        )
        return frames_N3HW

    def _inside(self, positions_hw2: Tensor, flow_N2gg: Tensor) -> Tensor:
        """(N, 3, h, w): both layers, moved with skull and jaw, one over the other."""
        skull = rigid_motion(self.skull_points_K2, flow_N2gg)
        # The jaw shifts with its own points and turns with the skull.
        jaw_N2 = move_points(self.jaw_points_J2, flow_N2gg).mean(1)
        jaw = RigidMotion(skull.matrix_N22, self.jaw_points_J2.mean(0), jaw_N2)
        upper = self._sample_layer(self.upper_layer_14hw, skull.inverse(positions_hw2))
        lower = self._sample_layer(self.lower_layer_13hw, jaw.inverse(positions_hw2))
        return torch.lerp(lower, upper[:, :3], upper[:, 3:])

    def _sample_layer(self, layer_1Chw: Tensor, positions_Nhw2: Tensor) -> Tensor:
        """(N, C, h, w): a layer at positions of the reference."""
        layer_NChw = layer_1Chw.float().expand(len(positions_Nhw2), -1, -1, -1)
        return sample_maps(layer_NChw, positions_Nhw2, self.box)


def _opening_mask(area_N1hw: Tensor, lip_region_N1hw: Tensor) -> Tensor:
    """(N, 1, h, w) in [0, 1]: the gap between the lips, in each column as high as the flow stretches it.

    The flow grid is coarse and spreads an opening over its neighbourhood. A threshold on the derivative would
    show nothing for a long time and then too much, so the height is a sum over the column.

    Args:
        area_N1hw: `jacobian_determinant` of the flow.
        lip_region_N1hw: where the source lies between the lips.
    """
    lost = ((_SKIN_AREA - area_N1hw) / _SKIN_AREA).clamp(0, 1) * lip_region_N1hw
    height = lost.sum(2, keepdim=True)
    rows = torch.arange(lost.shape[2], device=lost.device, dtype=lost.dtype)[:, None]
    middle = (lost * rows).sum(2, keepdim=True) / height.clamp_min(1e-6)
    return ((height / 2 - (rows - middle).abs()) / _SOFT_EDGE_PX + 0.5).clamp(0, 1) * height.clamp_max(1)
