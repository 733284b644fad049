"""What the motion autoencoder draws over the warped reference: teeth, tongue, eyelids, shadows.

Shapes: B pictures, C channels, S picture side, H = W = S / 16 latent side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "FLOW_STRIDES",
    "PIXEL_STRIDE",
    "STRIDE",
    "MotionDecoder",
    "ReferencePyramid",
    "ResBlock",
    "move_picture",
    "pack_flow",
    "stretch",
    "torn",
    "unpack_flow",
    "warp",
]

# The residual is drawn at a quarter of the picture's side and unfolded from channels to pixels: convolutions
# at full resolution would dominate the cost on a CPU.
PIXEL_STRIDE: Final = 4
STRIDE: Final = 16
FLOW_STRIDES: Final = (8, 4)  # twice or four times as fine as the latent grid; packed into channels


@dataclass(frozen=True)
class ReferencePyramid:
    """Features of the reference picture at strides 4, 8 and 16; computed once per portrait.

    Attributes:
        fine: (B, C_fine, S/4, S/4). middle: (B, C_mid, S/8, S/8). coarse: (B, C_ref, S/16, S/16).
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor

    def expand_frames(self, num_frames: int) -> ReferencePyramid:
        """The same features for every frame, frames folded into the batch: (B*F, ...), frame fastest."""
        return ReferencePyramid(
            *(level.repeat_interleave(num_frames, 0) for level in (self.fine, self.middle, self.coarse))
        )


def warp(picture_BCHW: Tensor, flow_B2hw: Tensor, *, is_sharp: bool = False) -> Tensor:
    """Moves a picture by a backward flow: output(x) = picture(x + flow(x)).

    Args:
        picture_BCHW: any feature map or picture.
        flow_B2hw: displacement (x, y) in units of the picture's side (1 = the whole side), at any resolution;
            it is interpolated to the picture's. Outside the picture the border repeats.
        is_sharp: bicubic instead of bilinear, twice as slow. Moved by half a pixel, bilinear pictures lose a
            quarter of their edges, bicubic ones a twentieth.
    """
    height, width = picture_BCHW.shape[-2:]
    flow = F.interpolate(flow_B2hw.float(), size=(height, width), mode="bilinear", align_corners=False)
    ys = (torch.arange(height, device=flow.device, dtype=flow.dtype) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=flow.device, dtype=flow.dtype) + 0.5) * (2 / width) - 1
    grid_x = xs[None, None, :] + 2 * flow[:, 0]
    grid_y = ys[None, :, None] + 2 * flow[:, 1]
    grid = torch.stack([grid_x, grid_y], -1)
    mode = "bicubic" if is_sharp else "bilinear"
    moved = F.grid_sample(picture_BCHW.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return moved.to(picture_BCHW.dtype)


_STRETCHES: Final = 4  # derivatives of a flow

# A place whose source has less than this part of its own area was not to be seen in the reference.
_TORN, _EDGE = 0.45, 0.15
# Lids that close draw skin out, too, but press the eye together right below it: within so many cells, to more
# than so many times the area. Lips that open do not.
_PRESSED, _PRESSED_EDGE = 1.6, 0.2
_NEAR_CELLS: Final = (9, 5)
_DARKNESS: Final = 0.4  # of the brightness around; the inside of mouths, teeth included
_AROUND_CELLS: Final = 16

# Four neighbours to their mean and three differences (Haar); its own inverse but for the factor of 4.
_HAAR: Final = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


def pack_flow(flow_B2hw: Tensor, stride: int) -> Tensor:
    """A flow field on its own grid -> channels on the latent grid, (B, 2 * (16 / stride)^2, H, W).

    First the 8 channels of the flow at stride 8, by pixel-unshuffle; at stride 4 these are means of four
    cells, and 24 channels follow that say how the four differ: nearly nothing but at lips and lids.
    """
    if stride == 8:
        return F.pixel_unshuffle(flow_B2hw, STRIDE // stride)
    batch, _, height, width = flow_B2hw.shape
    cells = F.pixel_unshuffle(flow_B2hw, 2).reshape(batch, 2, 4, height // 2, width // 2)
    haar = flow_B2hw.new_tensor(_HAAR)
    mean, *details = torch.einsum("kc,bxchw->kbxhw", haar / 4, cells)
    return F.pixel_unshuffle(torch.cat([mean, *details], 1), 2)


def unpack_flow(channels_BCHW: Tensor, stride: int) -> Tensor:
    """The inverse of `pack_flow`."""
    if stride == 8:
        return F.pixel_shuffle(channels_BCHW, STRIDE // stride)
    batch, _, height, width = channels_BCHW.shape
    parts = F.pixel_shuffle(channels_BCHW, 2).reshape(batch, 4, 2, 2 * height, 2 * width)
    cells = torch.einsum("kc,bkxhw->bxchw", channels_BCHW.new_tensor(_HAAR), parts)
    return F.pixel_shuffle(cells.flatten(1, 2), 2)


def move_picture(picture_B3HW: Tensor, flow_B2hw: Tensor, *, is_sharp: bool = False) -> Tensor:
    """`warp`, and darkness where the flow tears a picture open: what the decoder draws upon.

    Between lips that open, a warp draws out the line between them to streaks, which no residual ever hid. The
    darkness has the tone of what lies around.

    Args:
        picture_B3HW: in [-1, 1]. flow_B2hw, is_sharp: as for `warp`.
    """
    moved = warp(picture_B3HW, flow_B2hw, is_sharp=is_sharp)
    size = moved.shape[-2:]
    opened = torn(flow_B2hw, size)
    if not opened.any():
        return moved
    around = F.interpolate(F.adaptive_avg_pool2d(moved, _AROUND_CELLS), size=size, mode="bilinear")
    dark = _DARKNESS * (around + 1) - 1
    return torch.lerp(moved, dark, opened.to(moved.dtype))


def torn(flow_B2hw: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, 1, H, W), 0 to 1: where a flow tears the reference open, so that nothing of it belongs there.

    By the area in the reference that a place's own area comes from: the determinant of x + flow(x).
    """
    xx, yx, xy, yy = stretch(flow_B2hw, flow_B2hw.shape[-2:]).chunk(4, 1)
    area = (1 + xx) * (1 + yy) - yx * xy
    near = (_NEAR_CELLS[0] // 2, _NEAR_CELLS[1] // 2)
    pressed = F.max_pool2d(area, _NEAR_CELLS, stride=1, padding=near)
    free = ((_PRESSED + _PRESSED_EDGE - pressed) / (2 * _PRESSED_EDGE)).clamp(0, 1)
    # The area is interpolated, not what follows from it: its limit is then finer than a cell.
    area = F.interpolate(torch.lerp(torch.ones_like(area), area, free), size=size, mode="bilinear")
    return ((_TORN + _EDGE - area) / (2 * _EDGE)).clamp(0, 1)


def stretch(flow_B2hw: Tensor, size: tuple[int, ...]) -> Tensor:
    """Derivatives of the flow at a size (H, W): (B, 4, H, W), of x and y to the right, then down; no unit.

    0 where nothing is stretched, -1 where all pixels come from one place.
    """
    height, width = flow_B2hw.shape[-2:]
    padded = F.pad(flow_B2hw.float(), (1, 1, 1, 1), mode="replicate")
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (width / 2)
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (height / 2)
    return F.interpolate(torch.cat([right, down], 1), size=size, mode="area")


class _PlaceNorm(nn.LayerNorm):
    """LayerNorm over the channels of each place: unlike a GroupNorm's, its result does not depend on how much
    of the picture is looked at, so what is trained on windows holds for whole crops."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with a skip; the second starts at zero, so a new block is the identity.

    Args:
        local: normalise each place by itself instead of the whole map.
    """

    def __init__(self, channels: int, *, local: bool = False, groups: int = 8) -> None:
        super().__init__()
        self.norm = _PlaceNorm(channels) if local else nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(F.silu(self.conv1(F.silu(self.norm(x))))))


class MotionDecoder(nn.Module):
    """Flow and the moved features of the reference to the residual of a frame: shadows, lips, lids.

    From the latent grid up to a quarter of the picture's side; at each level the reference's features come
    in, moved by the flow, and how the flow stretches each place: between lips that open every pixel comes
    from the same line, so its derivative down is -1 there, and nothing else in the input says it as sharply.

    Args:
        reference_channels: of the reference's features at strides 4, 8 and 16.
        channels: of the decoder at strides 4, 8 and 16.
        blocks: `ResBlock`s at each level.
        flow_stride: pixels per cell of the flow, one of `FLOW_STRIDES`.
    """

    def __init__(
        self,
        reference_channels: Sequence[int],
        *,
        channels: Sequence[int],
        blocks: int,
        flow_stride: int,
    ) -> None:
        super().__init__()
        self.flow_stride = flow_stride
        fine, middle, coarse = channels
        inputs = 2 * (STRIDE // flow_stride) ** 2
        levels = ((inputs, coarse, 2), (coarse, middle, 1), (middle, fine, 0))
        self.joins = nn.ModuleList(
            nn.Conv2d(before + reference_channels[level] + _STRETCHES, width, 3, padding=1)
            for before, width, level in levels
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResBlock(width, local=True) for _ in range(blocks))) for _, width, _ in levels
        )
        self.ups = nn.ModuleList(nn.Conv2d(width, 4 * width, 1) for width in (coarse, middle))
        self.norm_out = _PlaceNorm(fine)
        self.conv_out = nn.Conv2d(fine, 3 * PIXEL_STRIDE**2, 3, padding=1)
        # At the start the decoder is exactly the warp: what it adds must earn its place.
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    def forward(self, reference: ReferencePyramid, flow_B2hw: Tensor, *, margin: int = 0) -> Tensor:
        """What is added to the warped reference, (B, 3, S, S).

        Args:
            reference: one set of features for each flow.
            flow_B2hw: backward flow in units of the side, on the grid of `flow_stride`.
            margin: cells of the latent grid at each side where nothing is computed, and the residual is zero.
        """
        dtype = reference.coarse.dtype
        # In units of 8 pixels, so that a window of a picture decodes as the whole does.
        moved = pack_flow(flow_B2hw * (flow_B2hw.shape[-1] * self.flow_stride / 8), self.flow_stride)
        x = _inner(moved.to(dtype), margin)
        for index, level in enumerate((reference.coarse, reference.middle, reference.fine)):
            if index:
                x = F.pixel_shuffle(self.ups[index - 1](x), 2)
            known = torch.cat([warp(level, flow_B2hw), stretch(flow_B2hw, level.shape[-2:]).to(dtype)], 1)
            x = torch.cat([x, _inner(known, margin * 2**index)], 1)
            x = self.blocks[index](self.joins[index](x))
        residual = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), PIXEL_STRIDE)
        residual = F.pad(residual, (margin * STRIDE,) * 4)
        # What opens stays dark. Drawn from the flow alone it becomes the mean of all mouths: a grey plate.
        return residual * (1 - torn(flow_B2hw, residual.shape[-2:])).to(dtype)


def _inner(x: Tensor, margin: int) -> Tensor:
    """The map without `margin` cells at each side."""
    height, width = x.shape[-2:]
    return x[..., margin : height - margin, margin : width - margin]
