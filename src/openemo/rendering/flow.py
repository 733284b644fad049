"""Backward flow fields: packing into latents, warping with them, their derivatives.

A backward flow says where each position of the output comes from: output(x) = image(x + flow(x)). Its unit is
the side of the image.

Shapes: B images, N frames, C channels, H x W of an image or of the latent grid, h x w or g x g the flow's own
    grid.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.grids import normalised_centres

__all__ = [
    "FLOW_STRIDES",
    "FULL_BOX",
    "LATENT_STRIDE",
    "NUM_FLOW_DERIVATIVES",
    "flow_derivatives",
    "jacobian_determinant",
    "pack_flow",
    "sample_flow",
    "sample_maps",
    "unpack_flow",
    "warp",
]

LATENT_STRIDE: Final = 16  # pixels per latent cell
FLOW_STRIDES: Final = (8, 4)  # pixels per flow cell: two or four cells per latent cell, packed into channels
NUM_FLOW_DERIVATIVES: Final = 4
FULL_BOX: Final = (0.0, 0.0, 1.0, 1.0)  # the box of maps that cover the whole image, see `sample_maps`

# Haar transform of 2 x 2 cells: their mean and three differences. Its own inverse up to a factor of 4.
_HAAR: Final = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))


def warp(
    image_BCHW: Tensor, flow_B2hw: Tensor, *, size: tuple[int, ...] | None = None, is_bicubic: bool = False
) -> Tensor:
    """Moves an image by a backward flow: output(x) = image(x + flow(x)). The border repeats.

    Args:
        image_BCHW: any image or feature map.
        flow_B2hw: displacement x, y in units of the image's side, at any resolution; it is interpolated to
            the size of the result.
        size: height and width of the result; None takes the image's. A result half the size of the image
            loses hardly any detail: it keeps 0.95 of the variance of a noisy video's Laplacian, else 0.86.
        is_bicubic: bicubic interpolation; bilinear keeps 0.57 of that variance and takes half the time.
    """
    height, width = size or image_BCHW.shape[-2:]
    flow = F.interpolate(flow_B2hw.float(), size=(height, width), mode="bilinear", align_corners=False)
    x = normalised_centres(width, like=flow)[None, None, :] + 2 * flow[:, 0]
    y = normalised_centres(height, like=flow)[None, :, None] + 2 * flow[:, 1]
    mode = "bicubic" if is_bicubic else "bilinear"
    grid = torch.stack([x, y], -1)
    moved = F.grid_sample(image_BCHW.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return moved.to(image_BCHW.dtype)


def sample_maps(maps_NCgg: Tensor, positions_Nhw2: Tensor, box: tuple[float, float, float, float]) -> Tensor:
    """(N, C, h, w): maps at given positions, bilinear; the border repeats.

    Args:
        positions_Nhw2: x, y in units of the image's side.
        box: x0, y0, x1, y1 of the part of the image that the maps cover, in the same units.
    """
    if not positions_Nhw2.stride(0):  # the same for all
        positions_Nhw2 = positions_Nhw2[:1]
    low = positions_Nhw2.new_tensor(box[:2])
    size = positions_Nhw2.new_tensor(box[2:]) - low
    grid = ((positions_Nhw2 - low) / size * 2 - 1).expand(len(maps_NCgg), -1, -1, -1)
    return F.grid_sample(maps_NCgg, grid, mode="bilinear", padding_mode="border", align_corners=False)


def sample_flow(flow_N2gg: Tensor, positions_Nhw2: Tensor) -> Tensor:
    """(N, h, w, 2): the flow at positions in units of the image's side, float32."""
    return sample_maps(flow_N2gg.float(), positions_Nhw2, FULL_BOX).permute(0, 2, 3, 1)


def pack_flow(flow_B2hw: Tensor, stride: int) -> Tensor:
    """A flow on its own grid -> channels on the latent grid, (B, 2 * (16 / stride)^2, H, W).

    At stride 8: 8 channels, by pixel-unshuffle. At stride 4: first the same 8 channels, as means of 2 x 2
    cells, then 24 channels with the differences within these cells; they are near zero except at lips and
    eyelids.
    """
    if stride == 8:
        return F.pixel_unshuffle(flow_B2hw, LATENT_STRIDE // stride)
    batch, _, height, width = flow_B2hw.shape
    cells = F.pixel_unshuffle(flow_B2hw, 2).reshape(batch, 2, 4, height // 2, width // 2)
    haar = flow_B2hw.new_tensor(_HAAR)
    mean, *details = torch.einsum("kc,bxchw->kbxhw", haar / 4, cells)
    return F.pixel_unshuffle(torch.cat([mean, *details], 1), 2)


def unpack_flow(channels_BCHW: Tensor, stride: int) -> Tensor:
    """The inverse of `pack_flow`."""
    if stride == 8:
        return F.pixel_shuffle(channels_BCHW, LATENT_STRIDE // stride)
    batch, _, height, width = channels_BCHW.shape
    parts = F.pixel_shuffle(channels_BCHW, 2).reshape(batch, 4, 2, 2 * height, 2 * width)
    cells = torch.einsum("kc,bkxhw->bxchw", channels_BCHW.new_tensor(_HAAR), parts)
    return F.pixel_shuffle(cells.flatten(1, 2), 2)


def jacobian_determinant(flow_B2hw: Tensor) -> Tensor:
    """(B, 1, h, w): determinant of the Jacobian of x + flow(x).

    It is the source area of a cell over its own area: 1 where nothing is stretched, less where the image is.
    """
    xx, yx, xy, yy = flow_derivatives(flow_B2hw, flow_B2hw.shape[-2:]).chunk(4, 1)
    return (1 + xx) * (1 + yy) - yx * xy


def flow_derivatives(flow_B2hw: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, 4, H, W): dx/dx, dy/dx, dx/dy, dy/dy of the flow, averaged to a size (H, W); no unit.

    0 where nothing is stretched, -1 where all pixels come from one position.
    """
    height, width = flow_B2hw.shape[-2:]
    padded = F.pad(flow_B2hw.float(), (1, 1, 1, 1), mode="replicate")
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) * (width / 2)
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) * (height / 2)
    derivatives = torch.cat([right, down], 1)
    # Torch would take as long for means over single cells.
    return derivatives if (height, width) == tuple(size) else F.interpolate(derivatives, size, mode="area")
