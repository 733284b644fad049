"""Backward flow fields: as latents, as motion of a picture, and what they say of it.

Shapes: B pictures, C channels, H x W of a picture or of the latent grid, h x w of the flow's own grid.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "FLOW_STRIDES",
    "NUM_STRETCHES",
    "STRIDE",
    "pack_flow",
    "source_area",
    "stretch",
    "unpack_flow",
    "warp",
]

STRIDE: Final = 16  # pixels per latent cell
FLOW_STRIDES: Final = (8, 4)  # twice or four times as fine as the latent grid; packed into channels
NUM_STRETCHES: Final = 4  # derivatives of a flow

# Four neighbours to their mean and three differences (Haar); its own inverse but for the factor of 4.
_HAAR: Final = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


def warp(
    picture_BCHW: Tensor, flow_B2hw: Tensor, *, size: tuple[int, ...] | None = None, is_sharp: bool = False
) -> Tensor:
    """Moves a picture by a backward flow: output(x) = picture(x + flow(x)).

    Args:
        picture_BCHW: any feature map or picture.
        flow_B2hw: displacement (x, y) in units of the picture's side (1 = the whole side), at any resolution;
            it is interpolated to the picture's. Outside the picture the border repeats.
        size: height and width of the result; None takes the picture's. Of a picture at twice this size hardly
            anything is lost: of the variance of a noisy video's Laplacian 0.95 is left, else 0.86.
        is_sharp: bicubic instead of bilinear, which leaves 0.57; twice as slow.
    """
    height, width = size or picture_BCHW.shape[-2:]
    flow = F.interpolate(flow_B2hw.float(), size=(height, width), mode="bilinear", align_corners=False)
    ys = (torch.arange(height, device=flow.device, dtype=flow.dtype) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=flow.device, dtype=flow.dtype) + 0.5) * (2 / width) - 1
    grid_x = xs[None, None, :] + 2 * flow[:, 0]
    grid_y = ys[None, :, None] + 2 * flow[:, 1]
    grid = torch.stack([grid_x, grid_y], -1)
    mode = "bicubic" if is_sharp else "bilinear"
    moved = F.grid_sample(picture_BCHW.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return moved.to(picture_BCHW.dtype)


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


def source_area(flow_B2hw: Tensor) -> Tensor:
    """(B, 1, h, w): the area in the reference that each cell's own area comes from, the determinant of
    x + flow(x); 1 where nothing is stretched, less where the picture is drawn out."""
    xx, yx, xy, yy = stretch(flow_B2hw, flow_B2hw.shape[-2:]).chunk(4, 1)
    return (1 + xx) * (1 + yy) - yx * xy


def stretch(flow_B2hw: Tensor, size: tuple[int, ...]) -> Tensor:
    """Derivatives of the flow at a size (H, W): (B, 4, H, W), of x and y to the right, then down; no unit.

    0 where nothing is stretched, -1 where all pixels come from one place.
    """
    height, width = flow_B2hw.shape[-2:]
    padded = F.pad(flow_B2hw.float(), (1, 1, 1, 1), mode="replicate")
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (width / 2)
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (height / 2)
    return F.interpolate(torch.cat([right, down], 1), size=size, mode="area")
