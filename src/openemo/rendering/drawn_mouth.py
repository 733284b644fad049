"""A mouth that is drawn as a line or as a shape on a plain skin is drawn again, open.

A warp that tears a thin line leaves steps, because the flow's grid is as coarse as the line is thick. In a
drawing the line can be taken out, as skin of one colour is behind it, and drawn again along smooth curves
that open with the lips.

Shapes: N frames of one portrait, K columns from corner to corner, h x w the box around the mouth in px,
    g x g the flow's grid, P side of the portrait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Floats, Image
from openemo.face.landmarks import OUTER_LIPS
from openemo.grids import centre_array
from openemo.image_tensors import layer_to_tensor
from openemo.rendering.corner_line import CornerLine
from openemo.rendering.drawing_palette import DrawingPalette
from openemo.rendering.flow import FULL_BOX, sample_flow, sample_maps
from openemo.rendering.rigid_motion import move_points

__all__ = ["DrawnMouth", "find_drawn_mouth"]

Bools = NDArray[np.bool_]

_COLUMNS: Final = 64
# In units of CIE Lab.
_OTHER_COLOUR: Final = 10.0  # what differs by more from the skin is drawn on it
_SAME_INK: Final = 20.0
_MIN_SOLID: Final = 0.7  # share of the drawn mouth's area that differs from the skin
_SHAPE_COLOURS: Final = 4  # of a drawn mouth: outline, cavity, teeth, tongue
_MIN_EVEN: Final = 0.75  # share of the drawn mouth that has one of them
_MIN_PLAIN: Final = 0.8  # share of the skin around the mouth that has its colour
# Lengths over the width of the mouth according to the landmarks.
_SEARCH: Final = (0.75, 0.5)  # half the width and the height around the middle where the mouth may be
_MIN_WIDTH: Final = 0.3
_MAX_OFF: Final = 0.3  # of the shape's middle from the landmarks'
_REST: Final = 0.03  # opening that a network shows in silence
# Over the width of the drawn mouth.
_LINE_HEIGHT: Final = 0.16  # a shape that is thinner is a line
_TEETH_HEIGHT: Final = 0.13
_MAX_OPENING: Final = 0.6
_ANCHOR: Final = 0.35  # where an open shape shuts, from its upper to its lower edge
_MAX_STRETCH: Final = 1.6  # of an open shape
# Over the height of the opening.
_LEAST_OPEN: Final = 2.0  # thicknesses of the line, before teeth show
_TEETH_SHARE, _TONGUE_SHARE = 0.32, 0.38
_TONGUE_HALF_WIDTH: Final = 0.38  # over the width of the drawn mouth
_ROUNDNESS = 0.7  # of the opening: 0.5 is an ellipse, 1 a parabola
_CLEAR_PX: Final = 2.5  # around the drawn mouth: its smooth edge, and what bicubic interpolation mixes
# Middles of the lips' outer edges: further in, the flow is a mixture of both lips' motion.
_UPPER_LIP, _LOWER_LIP = (0, 37, 267), (17, 84, 314)
_INNER_EDGES: Final = (13, 14)


@dataclass(frozen=True, slots=True)
class DrawnMouth:
    """The curves and colours of one drawn mouth. Positions are in units of the square's side.

    Attributes:
        box: x0, y0, x1, y1; the layer covers it.
        skin_14hw: RGB in [-1, 1] without the mouth, and where the mouth is, [0, 1].
        shape_13hw: RGB in [-1, 1] of the portrait.
        corners_22: left and right end of the mouth.
        lips_M2: landmarks of the upper lip, then as many of the lower lip.
        curves_3K: middle of the upper and of the lower line below the line between the corners, and
            thickness of the line, over the width between the corners.
        rest_gap: between the lips of the portrait according to the landmarks, less what counts as shut; in
            units of the side.
        is_shape: the portrait's mouth is open; its inside is stretched instead of drawn.
        colours_43: RGB in [-1, 1] of line, cavity, teeth and tongue.
    """

    box: tuple[float, float, float, float]
    skin_14hw: Tensor
    shape_13hw: Tensor
    corners_22: Tensor
    lips_M2: Tensor
    curves_3K: Tensor
    rest_gap: float
    is_shape: bool
    colours_43: Tensor

    def composite(self, region_N3hw: Tensor, positions_hw2: Tensor, flow_N2gg: Tensor) -> Tensor:
        """The region with the mouth taken out and drawn again.

        Args:
            region_N3hw: part of the warped frames, in [-1, 1].
            positions_hw2: of its pixels.
            flow_N2gg: backward flow that the frames were warped by.
        """
        sources_Nhw2 = positions_hw2 + sample_flow(
            flow_N2gg, positions_hw2.expand(len(flow_N2gg), -1, -1, -1)
        )
        skin = self._sample(self.skin_14hw, sources_Nhw2)
        result = torch.lerp(region_N3hw, skin[:, :3].to(region_N3hw.dtype), skin[:, 3:].to(region_N3hw.dtype))
        pixel = float(positions_hw2[0, 1, 0] - positions_hw2[0, 0, 0])
        drawn, cover = self._draw(positions_hw2, flow_N2gg, pixel)
        return torch.lerp(result, drawn.to(result.dtype), cover.to(result.dtype))

    def _draw(self, positions_hw2: Tensor, flow_N2gg: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
        """Colour (N, 3, h, w) and cover (N, 1, h, w) of the mouth; `pixel` is the side of a pixel."""
        corners_N22 = move_points(self.corners_22, flow_N2gg)
        across_N2 = corners_N22[:, 1] - corners_N22[:, 0]
        width_N11 = across_N2.norm(dim=1)[:, None, None]
        across_N2 = across_N2 / width_N11[:, 0]
        down_N2 = torch.stack([-across_N2[:, 1], across_N2[:, 0]], 1)
        offset = positions_hw2 - corners_N22[:, None, None, 0]
        # As in `CornerLine`, but t is over the width too.
        s, t = ((offset * axis[:, None, None]).sum(3) / width_N11 for axis in (across_N2, down_N2))
        lips_NM = ((move_points(self.lips_M2, flow_N2gg) - self.lips_M2) * down_N2[:, None]).sum(2)
        corners_N1 = ((corners_N22 - self.corners_22).mean(1) * down_N2).sum(1, keepdim=True)
        lips_N2 = ((lips_NM - corners_N1) / width_N11[:, 0]).unflatten(1, (2, -1)).mean(2)
        top, bottom, thickness = self._edges(s, lips_N2, width_N11[:, 0, 0])

        def cover(distance: Tensor) -> Tensor:
            """1 where a signed distance over the width is inside, 0 outside, smooth over a pixel."""
            covered: Tensor = (distance * width_N11 / pixel + 0.5).clamp(0, 1)
            return covered

        ends = cover(torch.minimum(s, 1 - s))
        lines = [
            cover(thickness / 2 - (t - edge).abs() / (1 + _slope(edge, s).square()).sqrt())
            for edge in (top, bottom)
        ]
        stroke = torch.maximum(*lines) * ends
        share = (t - top) / (bottom - top).clamp_min(1e-6)
        if self.is_shape:
            colour = self._own_inside(s, share, pixel)
        else:
            colour = self._flat_inside(s, t, (top, bottom, thickness), cover)
        between = cover(torch.minimum(t - top, bottom - t)) * ends * (bottom > top)
        colour = torch.lerp(colour, self.colours_43[0, :, None, None], stroke[:, None])
        return colour, torch.maximum(between, stroke)[:, None]

    def _edges(self, s_Nhw: Tensor, lips_N2: Tensor, width_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Upper edge, lower edge and thickness of the line at positions along the mouth, over its width.

        Args:
            lips_N2: how far the upper and the lower lip moved down, over the width.
        """
        top, bottom, thickness = self._curves(s_Nhw)
        moved_N = lips_N2[:, 1] - lips_N2[:, 0]
        opened_N = (moved_N + self.rest_gap / width_N).clamp_min(0)
        if self.is_shape:
            # Shut, all of it lies on one curve.
            rest = (self.curves_3K[1] - self.curves_3K[0]).amax()
            stretch_N11 = (opened_N / rest).clamp_max(_MAX_STRETCH)[:, None, None]
            anchor = torch.lerp(top, bottom, _ANCHOR)
            return torch.lerp(anchor, top, stretch_N11), torch.lerp(anchor, bottom, stretch_N11), thickness
        share_N = opened_N.clamp_max(_MAX_OPENING) / moved_N.clamp_min(1e-6)
        profile = (1 - (2 * s_Nhw - 1).square()).clamp_min(0) ** _ROUNDNESS
        upper_N11, lower_N11 = (lips_N2 * share_N[:, None])[..., None, None].unbind(1)
        return top + profile * upper_N11, bottom + profile * lower_N11, thickness

    def _own_inside(self, s_Nhw: Tensor, share_Nhw: Tensor, pixel: float) -> Tensor:
        """(N, 3, h, w): the portrait's own inside, without its outline."""
        across = self.corners_22[1] - self.corners_22[0]
        down = torch.stack([-across[1], across[0]])
        s = s_Nhw.clamp(0, 1)
        top, bottom, thickness = self._curves(s)
        inset = (thickness / 2 + pixel / across.norm()).minimum((bottom - top) / 2)
        t = top + inset + share_Nhw.clamp(0, 1) * (bottom - top - 2 * inset)
        return self._sample(self.shape_13hw, self.corners_22[0] + s[..., None] * across + t[..., None] * down)

    def _flat_inside(
        self,
        s_Nhw: Tensor,
        t_Nhw: Tensor,
        edges: tuple[Tensor, Tensor, Tensor],
        cover: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """(N, 3, h, w): cavity, tongue and teeth, each of one colour."""
        top, bottom, thickness = edges
        cavity, teeth, tongue = self.colours_43[1:, :, None, None]
        height = (bottom - top).amax((1, 2), keepdim=True)
        arc = (1 - ((s_Nhw - 0.5) / _TONGUE_HALF_WIDTH).square()).clamp_min(0)
        is_tongue = cover(t_Nhw - bottom + _TONGUE_SHARE * height * arc) * (arc > 0)
        colour = torch.lerp(cavity, tongue, is_tongue[:, None])
        # No teeth in a gap that is hardly wider than its lines.
        teeth_share = _TEETH_SHARE * (height / thickness.amax() - _LEAST_OPEN).clamp(0, 1)
        band = (teeth_share * (bottom - top)).clamp_max(_TEETH_HEIGHT)
        is_teeth = cover(top + thickness / 2 + band - t_Nhw) * (teeth_share > 0)
        return torch.lerp(colour, teeth, is_teeth[:, None])

    def _curves(self, s_Nhw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The curves at positions along the mouth, (N, h, w) each."""
        positions = torch.stack([s_Nhw, torch.full_like(s_Nhw, 0.5)], -1)
        maps = self.curves_3K[None, :, None].expand(len(s_Nhw), -1, -1, -1)
        top, bottom, thickness = sample_maps(maps, positions, FULL_BOX).unbind(1)
        return top, bottom, thickness

    def _sample(self, layer_1Chw: Tensor, positions_Nhw2: Tensor) -> Tensor:
        return sample_maps(layer_1Chw.expand(len(positions_Nhw2), -1, -1, -1), positions_Nhw2, self.box)


def _slope(curve_Nhw: Tensor, s_Nhw: Tensor) -> Tensor:
    """Slope of a curve over s, (N, h, w)."""
    step = (s_Nhw[..., 1:] - s_Nhw[..., :-1]).clamp_min(1e-6)
    slope = (curve_Nhw[..., 1:] - curve_Nhw[..., :-1]) / step
    return torch.cat([slope, slope[..., -1:]], -1).clamp(-1, 1)


def find_drawn_mouth(
    image: Image, points_px: Floats, box_px: tuple[int, int, int, int], palette: DrawingPalette
) -> DrawnMouth | None:
    """The mouth of a drawing, if it is a line or an open shape, alone on skin of one colour.

    Args:
        image: (P, P, 3) uint8 RGB.
        points_px: (478, 2 or more) landmarks.
        box_px: x0, y0, x1, y1 around all that the mouth may open to.
    """
    side_px, (x0, y0, x1, y1) = len(image), box_px
    region = image[y0:y1, x0:x1]
    lips = points_px[list(OUTER_LIPS), :2] - (x0, y0)
    mask = _mouth_mask(region, lips)
    if mask is None:
        return None
    curves = _trace(region, mask)
    if curves is None:
        return None
    line, top, bottom, thickness, is_shape = curves
    gap_px = float(np.linalg.norm(np.subtract(*points_px[list(_INNER_EDGES), :2])))
    clear = _clear_px(side_px)
    hole = cv2.dilate(mask.astype(np.uint8), np.ones((2 * clear + 1,) * 2, np.uint8))
    plain = cv2.inpaint(region, hole, 3, cv2.INPAINT_TELEA)
    stroke = _ink(region, mask)
    ends = np.stack([line.corner, line.corner + line.across * line.width_px]) + np.array([x0, y0])
    soft = cv2.GaussianBlur(hole.astype(np.float64), (0, 0), 0.7)
    return DrawnMouth(
        box=(x0 / side_px, y0 / side_px, x1 / side_px, y1 / side_px),
        skin_14hw=layer_to_tensor(
            np.concatenate([_to_values(plain), np.clip(1.6 * soft, 0, 1)[..., None]], -1)
        ),
        shape_13hw=layer_to_tensor(_to_values(region)),
        corners_22=torch.from_numpy(ends / side_px).float(),
        lips_M2=torch.from_numpy(points_px[list(_UPPER_LIP + _LOWER_LIP), :2] / side_px).float(),
        curves_3K=torch.from_numpy(np.stack([top, bottom, thickness]) / line.width_px).float(),
        rest_gap=(gap_px * float(is_shape) - _REST * float(np.ptp(lips[:, 0]))) / side_px,
        is_shape=is_shape,
        colours_43=torch.from_numpy(
            _to_values(np.stack([stroke, palette.dark, palette.light, palette.tongue]))
        ).float(),
    )


def _to_values(colours: Floats | Image) -> Floats:
    """Grey levels -> [-1, 1]."""
    return np.asarray(colours / 127.5 - 1)


def _clear_px(side_px: int) -> int:
    return max(2, round(_CLEAR_PX * side_px / 600))


def _mouth_mask(region: Image, lips_px: Floats) -> Bools | None:
    """(h, w): what is drawn at the landmarks' mouth; None if it is not alone on plain skin."""
    width = float(np.ptp(lips_px[:, 0]))
    centre = lips_px.mean(0)
    y, x = np.indices(region.shape[:2]) + 0.5
    reach = np.abs(x - centre[0]) / (_SEARCH[0] * width), np.abs(y - centre[1]) / (_SEARCH[1] * width)
    near = np.maximum(*reach) < 1
    if not near.any():
        return None
    lab = cv2.cvtColor(region.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    skin = _mode(region[near])
    skin_lab = cv2.cvtColor((skin[None, None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    other = np.linalg.norm(lab - skin_lab, axis=-1) > _OTHER_COLOUR
    count, labels, stats, middles = cv2.connectedComponentsWithStats((other & near).astype(np.uint8))
    edge = set(np.unique(labels[cv2.dilate((~near).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0]))
    best, chosen = _MAX_OFF, 0
    for label in range(1, count):
        off = float(np.hypot(*((middles[label] - centre) / width)))
        if label not in edge and stats[label, cv2.CC_STAT_WIDTH] > _MIN_WIDTH * width and off < best:
            best, chosen = off, label
    if not chosen:
        return None
    shape = labels == chosen
    contours, _ = cv2.findContours(shape.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(region.shape[:2], np.uint8)
    cv2.drawContours(filled, contours, -1, (1,), cv2.FILLED)
    is_alone = 1 - other[near & (filled == 0)].mean() > _MIN_PLAIN
    # Strokes around a lip, or of uneven ink, are no line of a mouth.
    is_solid = shape.sum() > _MIN_SOLID * filled.sum() and _is_even(lab, filled > 0)
    return filled > 0 if is_alone and is_solid else None


def _is_even(lab: Floats, mask: Bools) -> bool:
    """Whether most of the mask, without its smooth edge, has one of two colours: of outline and inside."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    pixels = lab[inner if inner.any() else mask]
    covered = np.zeros(len(pixels), np.bool_)
    for _ in range(_SHAPE_COLOURS):
        rest = pixels[~covered]
        if len(rest):
            covered |= np.linalg.norm(pixels - np.median(rest, 0), axis=1) < _OTHER_COLOUR
    return bool(covered.mean() > _MIN_EVEN)


def _mode(pixels: Image) -> Floats:
    """(3,) median of the pixels around the most frequent colour."""
    keys = (pixels // 8).astype(np.int64) @ np.array([1024, 32, 1])
    values, counts = np.unique(keys, return_counts=True)
    return np.asarray(np.median(pixels[keys == values[counts.argmax()]], 0))


def _ink(region: Image, mask: Bools) -> Floats:
    """(3,) colour of the line: of the mask's edge, a pixel further in than the smooth edge."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    rim = inner & ~(cv2.erode(inner.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    pixels = region[rim if rim.any() else mask]
    brightness = pixels.mean(1)
    return np.asarray(np.median(pixels[brightness <= np.median(brightness)], 0), np.float64)


def _trace(region: Image, mask: Bools) -> tuple[CornerLine, Floats, Floats, Floats, bool] | None:
    """Line between the mouth's ends; middles of its upper and lower line, and their thickness, (K,) px.

    None for painted lips with a line between them.
    """
    columns = np.flatnonzero(mask.any(0))
    first, last = columns[0], columns[-1]
    ends = [
        np.array([edge, np.flatnonzero(mask[:, inner].any(1)).mean() + 0.5])
        for edge, inner in (
            (float(first), slice(first, first + 3)),
            (float(last + 1), slice(last - 2, last + 1)),
        )
    ]
    line = CornerLine.between(ends[0], ends[1])
    s = centre_array(_COLUMNS)
    points = np.stack(np.nonzero(mask)[::-1], -1) + 0.5
    s_points, t_points = line.to_line(points)
    bins = np.clip((s_points * _COLUMNS).astype(int), 0, _COLUMNS - 1)
    order = np.full((2, _COLUMNS), np.nan)
    for column in range(_COLUMNS):
        t = t_points[bins == column]
        if len(t):
            order[:, column] = t.min() - 0.5, t.max() + 0.5
    known = ~np.isnan(order[0])
    top, bottom = (_smooth(np.interp(s, s[known], edge[known])) for edge in order)
    height = bottom - top
    is_shape = float(np.median(height)) > _LINE_HEIGHT * line.width_px
    if is_shape and _has_lip_line(region, line, s, top, bottom):
        return None
    if not is_shape:
        thickness = np.maximum(height - 0.5, 1.0)
        middle = (top + bottom) / 2
        return line, middle, middle, thickness, False
    thickness = np.full(_COLUMNS, _outline_px(region, mask))
    return line, top + thickness / 2, np.maximum(bottom - thickness / 2, top + thickness / 2), thickness, True


def _smooth(values_K: Floats) -> Floats:
    return np.asarray(np.convolve(np.pad(values_K, 2, mode="edge"), np.full(5, 0.2), "valid"))


def _has_lip_line(region: Image, line: CornerLine, s: Floats, top: Floats, bottom: Floats) -> bool:
    """Whether a line darker than what is above and below it runs through the middle of the shape."""
    shares = np.linspace(0, 1, 33)[:, None]
    inner = (s > 0.2) & (s < 0.8)
    t = top[inner] + shares * (bottom - top)[inner]
    x, y = np.moveaxis(line.to_pixels(np.broadcast_to(s[inner], t.shape), t).astype(np.float32) - 0.5, -1, 0)
    brightness = cv2.remap(region, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).mean(-1)
    middle = brightness[8:25]
    above, below, dark = np.median(brightness[4:9], 0), np.median(brightness[24:29], 0), middle.min(0)
    return bool(np.mean(np.minimum(above, below) - dark > 12) > 0.7)


def _outline_px(region: Image, mask: Bools) -> float:
    """Thickness of the shape's outline: of the ring whose colour is that of its edge."""
    lab = cv2.cvtColor(region.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    ink = cv2.cvtColor((_ink(region, mask)[None, None] / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    is_ink = mask & (np.linalg.norm(lab - ink, axis=-1) < _SAME_INK)
    limit = max(2, int(depth.max() * 0.6))
    for level in range(1, limit):
        ring = (depth > level) & (depth <= level + 1)
        if ring.any() and is_ink[ring].mean() < 0.5:
            return float(level)
    return 1.0
