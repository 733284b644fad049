"""Teeth, tongue and cavity: layers of a portrait that appear where the mouth opens.

A warp has no pixels to show between lips that are closed in the photo. A decoder that reads only the flow
draws the mean of all mouths, a grey plate. But teeth are rigid: the upper ones move with the skull, the lower
ones with the jaw, and the flow holds both motions. So the teeth are drawn once, moved with skull and jaw, and
shown where the flow stretches the image between the lips. A photo that shows teeth keeps its own.

Shapes: N frames of one portrait, H x W of its square, h x w of the box around its mouth, g x g the flow's
grid, G x G a finer one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.drawn_mouth import DrawnMouth
from openemo.rendering.flow import FULL_BOX, jacobian_determinant, sample_maps
from openemo.rendering.lip_closure import LipClosure
from openemo.rendering.mouth_cavity import MouthCavity
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
# Lengths over the width of the mouth.
_EVEN: Final = 0.04  # over which the edges of the opening are smooth, along the lips
# Columns that open less than this share of the highest one open no further than the flow says, times this.
_CORNER, _MOST_EVEN = 0.5, 1.15
_CLOSED_PX: Final = 1.5  # in a lower gap nothing but the line between the lips shows
_LINE_GAP: Final = 0.045  # from a gap that is higher by this on the line has gone
_SHADOWS: Final = ((0.5, 0.05), (0.78, 0.03))  # light at the upper and the lower lip, and how far it is less
_LIT, _LEAST_LIGHT = 0.14, 0.74  # a gap of this height lets all light in; light in a thin one
_SPREAD, _SPREAD_LIGHT = 0.2, 0.6  # one that is wider by this loses this share of the shadow
_ROUNDED, _ROUNDED_LIGHT = 0.25, 0.6  # a mouth that is narrower by this stands forward and leaves this light


@dataclass(frozen=True, slots=True)
class MouthInterior:
    """Layers of one portrait within a box around its mouth. Positions are in units of the square's side.

    Attributes:
        box: x0, y0, x1, y1; all layers with h x w cover it.
        upper_layer_14hw: RGB in [-1, 1] and opacity in [0, 1]; moves with the skull.
        lower_layer_14hw: RGB in [-1, 1] and opacity of the lower teeth, behind the upper layer; moves with
            the jaw.
        cavity: behind both.
        line_colour_3: RGB in [-1, 1] between lips that meet.
        corners_22: of the mouth, in the reference.
        edge_px: width of the opening's edge, px of the frames, as sharp as the portrait is.
        shading: 1 puts the inside in the shadow of the lips; 0 where the photo has its own, a drawing none.
        lip_region_11hw: [0, 1], where lips may part.
        visible_gap_11hw: [0, 1], where the photo itself shows the inside; its pixels are in
            `upper_layer_14hw`.
        flow_positions_GG2: where the flow is read for each cell of the finer grid. The flow follows
            landmarks, which miss the edges of the lips by a few pixels.
        mouth_line_GG3: for each cell of the finer grid a position between the lips, and the weight of the
            flow there, 0 to 1. Towards the corners lips hold together, which the flow grid is too coarse for.
        skull_points_K2, jaw_points_J2: points of the reference that move with skull and jaw.
        lip_closure: makes the step between the lips sharp; None leaves it as the flow has it.
        drawn_mouth: of a drawing, takes the place of all layers; None else.
        manner: how the portrait is made.
    """

    box: tuple[float, float, float, float]
    upper_layer_14hw: Tensor
    lower_layer_14hw: Tensor
    cavity: MouthCavity
    line_colour_3: Tensor
    corners_22: Tensor
    lip_region_11hw: Tensor
    visible_gap_11hw: Tensor
    flow_positions_GG2: Tensor
    mouth_line_GG3: Tensor
    skull_points_K2: Tensor
    jaw_points_J2: Tensor
    lip_closure: LipClosure | None = None
    drawn_mouth: DrawnMouth | None = None
    manner: PictureManner = PHOTO
    edge_px: float = 2.0
    shading: float = 1.0

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

    def composite(self, frames_N3HW: Tensor, flow_N2gg: Tensor, tongue_N: Tensor | None = None) -> Tensor:
        """The frames with the inside of the mouth drawn where it is open.

        Args:
            frames_N3HW: in [-1, 1], warped by the flow; changed in place.
            flow_N2gg: backward flow in units of the side, on any grid.
            tongue_N: how far its tip is raised, 0 to 1, as in l, n, d, th; None leaves it down.
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
        corners_N22 = move_points(self.corners_22, flow_N2gg)
        mouth_N = (corners_N22[:, 0] - corners_N22[:, 1]).norm(dim=1)
        gap = _Gap.of(flow_and_area[:, 2:], lip_region, self.edge_px, mouth_N * width)
        opening = torch.maximum(gap.mask_N1hw, visible_gap)
        seen = opening.amax((0, 1)) > 0
        if not seen.any():
            return frames_N3HW
        part = _bounds(seen.any(1)), _bounds(seen.any(0))
        inside = self._inside(positions_hw2[part], flow_N2gg, gap, tongue_N)
        if self.shading:
            narrow = 1 - mouth_N / (self.corners_22[0] - self.corners_22[1]).norm()
            inside = (inside + 1) * (1 + self.shading * (gap.light(part, narrow) - 1)) - 1
        # What the photo shows is no line.
        parted = visible_gap[..., *part] / opening[..., *part].clamp_min(1e-6)
        closed = gap.closed_share()[..., part[1]] * (1 - parted)
        inside = torch.lerp(inside, self.line_colour_3[:, None, None], closed)
        region[..., *part] = torch.lerp(
            region[..., *part], inside.to(region.dtype), opening[..., *part].to(region.dtype)
        )
        return frames_N3HW

    def _inside(self, positions_hw2: Tensor, flow_N2gg: Tensor, gap: _Gap, tongue_N: Tensor | None) -> Tensor:
        """(N, 3, h, w): the cavity and both rows of teeth, moved with skull and jaw, one over the other."""
        skull = rigid_motion(self.skull_points_K2, flow_N2gg)
        # The jaw shifts with its own points and turns with the skull.
        jaw_N2 = move_points(self.jaw_points_J2, flow_N2gg).mean(1)
        jaw = RigidMotion(skull.matrix_N22, self.jaw_points_J2.mean(0), jaw_N2)
        at_jaw = jaw.inverse(positions_hw2)
        opening_N = gap.height_N11w.amax((1, 2, 3)) / gap.mouth_px_N
        inside = self.cavity.draw(
            at_jaw, opening_N, torch.zeros_like(opening_N) if tongue_N is None else tongue_N.to(opening_N)
        )
        for layer, places in (
            (self.lower_layer_14hw, at_jaw),
            (self.upper_layer_14hw, skull.inverse(positions_hw2)),
        ):
            teeth = self._sample_layer(layer, places)
            inside = torch.lerp(inside, teeth[:, :3], teeth[:, 3:])
        return inside

    def _sample_layer(self, layer_1Chw: Tensor, positions_Nhw2: Tensor) -> Tensor:
        """(N, C, h, w): a layer at positions of the reference."""
        layer_NChw = layer_1Chw.float().expand(len(positions_Nhw2), -1, -1, -1)
        return sample_maps(layer_NChw, positions_Nhw2, self.box)


@dataclass(frozen=True, slots=True)
class _Gap:
    """The gap between the lips: in each column as high as the flow stretches it.

    The flow grid is coarse and spreads an opening over its neighbourhood. A threshold on the derivative would
    show nothing for a long time and then too much, so the height is a sum over the column.

    Attributes:
        height_N11w, middle_N11w: in each column, px and rows.
        mask_N1hw: [0, 1].
        mouth_px_N: distance between the corners of the mouth.
    """

    height_N11w: Tensor
    middle_N11w: Tensor
    mask_N1hw: Tensor
    mouth_px_N: Tensor

    @classmethod
    def of(cls, area_N1hw: Tensor, lip_region_N1hw: Tensor, edge_px: float, mouth_px_N: Tensor) -> _Gap:
        """
        Args:
            area_N1hw: `jacobian_determinant` of the flow.
            lip_region_N1hw: where the source lies between the lips.
            edge_px: over which the mask rises.
        """
        lost = ((_SKIN_AREA - area_N1hw) / _SKIN_AREA).clamp(0, 1) * lip_region_N1hw
        each = lost.sum(2, keepdim=True)
        rows = torch.arange(lost.shape[2], device=lost.device, dtype=lost.dtype)[:, None]
        moment = (lost * rows).sum(2, keepdim=True)
        # One column alone follows the cells of the flow, which would be notches in the lips.
        even = 2 * max(1, round(_EVEN * float(mouth_px_N.mean()))) + 1
        moment, height = _running_mean(torch.cat([moment, each], 1), even).chunk(2, 1)
        middle = moment / height.clamp_min(1e-6)
        # Corners stay closed.
        is_corner = each < _CORNER * each.amax(3, keepdim=True)
        height = torch.where(is_corner, torch.minimum(height, _MOST_EVEN * each), height)
        mask = ((height / 2 - (rows - middle).abs()) / edge_px + 0.5).clamp(0, 1) * height.clamp_max(1)
        return cls(height, middle, mask, mouth_px_N)

    def closed_share(self) -> Tensor:
        """(N, 1, 1, w): 1 where the lips meet, 0 where they are apart."""
        return 1 - ((self.height_N11w - _CLOSED_PX) / (_LINE_GAP * self._unit())).clamp(0, 1)

    def light(self, part: tuple[slice, slice], narrow_N: Tensor) -> Tensor:
        """(N, 1, h, w) factor on brightness: what the lips leave of the light.

        Args:
            part: rows and columns of the mask that are wanted.
            narrow_N: how much narrower than in the portrait the mouth is, a share of its width.
        """
        (row, column), unit = part, self._unit()
        height, middle = self.height_N11w[..., column], self.middle_N11w[..., column]
        rows = torch.arange(self.mask_N1hw.shape[2], device=unit.device, dtype=unit.dtype)[row, None]
        below = (rows - middle) / unit
        half = height / (2 * unit)
        (upper, upper_reach), (lower, lower_reach) = _SHADOWS
        light = (upper + (1 - upper) / upper_reach * (half + below)).clamp(upper, 1)
        light = light * (lower + (1 - lower) / lower_reach * (half - below)).clamp(lower, 1)
        let_in = (_LEAST_LIGHT + (1 - _LEAST_LIGHT) / _LIT * 2 * half).clamp_max(1)
        rounded = 1 - (1 - _ROUNDED_LIGHT) * (narrow_N / _ROUNDED).clamp(0, 1)[:, None, None, None]
        # Lips that are drawn aside lie flat on the teeth.
        flat = (-narrow_N / _SPREAD).clamp(0, 1)[:, None, None, None]
        return torch.lerp(light * (let_in * rounded), torch.ones_like(light), _SPREAD_LIGHT * flat)

    def _unit(self) -> Tensor:
        """(N, 1, 1, 1): the width of the mouth, px."""
        return self.mouth_px_N[:, None, None, None]


def _running_mean(rows_NC1w: Tensor, size: int) -> Tensor:
    """Mean of an odd number of neighbours along the last axis; zeros beyond the ends."""
    return F.avg_pool1d(rows_NC1w[:, :, 0], size, 1, size // 2)[:, :, None]


def _bounds(is_seen: Tensor) -> slice:
    """From the first to the last that is seen."""
    indices = is_seen.nonzero()
    return slice(int(indices[0]), int(indices[-1]) + 1)
