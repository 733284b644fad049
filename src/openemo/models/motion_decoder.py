"""Decoder of the motion autoencoder: the residual that is added to the warped reference image.

Shapes: B images, C channels, S image side, H = W = S / 16 latent side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.rendering.flow import LATENT_STRIDE, NUM_FLOW_DERIVATIVES, flow_derivatives, pack_flow, warp

__all__ = ["PIXEL_STRIDE", "MotionDecoder", "ReferencePyramid", "ResBlock"]

# The decoder works at a quarter of the image side and ends with a pixel shuffle. Convolutions at full
# resolution would dominate the cost on a CPU.
PIXEL_STRIDE: Final = 4


@dataclass(frozen=True)
class ReferencePyramid:
    """Features of the reference image at strides 4, 8 and 16; computed once per portrait.

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


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of each pixel.

    Unlike GroupNorm, its result does not depend on the size of the map, so training on windows is enough.
    """

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """Two 3x3 convolutions with a skip; the second starts at zero, so a new block is the identity.

    Args:
        local: use `LayerNorm2d` instead of a GroupNorm over the whole map.
    """

    def __init__(self, channels: int, *, local: bool = False, groups: int = 8) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels) if local else nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(cast(Tensor, self.conv2.bias))

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.conv2(F.silu(self.conv1(F.silu(self.norm(x))))))


class MotionDecoder(nn.Module):
    """Flow and warped reference features to the residual of a frame: shadows, lip edges, eyelids.

    It goes from the latent grid up to a quarter of the image side. Each level reads the warped reference
    features and the derivatives of the flow. Between opening lips every pixel comes from the same line, so
    the vertical derivative there is -1; no other input marks the open mouth as sharply.

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
        inputs = 2 * (LATENT_STRIDE // flow_stride) ** 2
        levels = ((inputs, coarse, 2), (coarse, middle, 1), (middle, fine, 0))
        self.joins = nn.ModuleList(
            nn.Conv2d(before + reference_channels[level] + NUM_FLOW_DERIVATIVES, width, 3, padding=1)
            for before, width, level in levels
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResBlock(width, local=True) for _ in range(blocks))) for _, width, _ in levels
        )
        self.ups = nn.ModuleList(nn.Conv2d(width, 4 * width, 1) for width in (coarse, middle))
        self.norm_out = LayerNorm2d(fine)
        self.conv_out = nn.Conv2d(fine, 3 * PIXEL_STRIDE**2, 3, padding=1)
        # A new decoder adds nothing to the warp.
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    def forward(self, reference: ReferencePyramid, flow_B2hw: Tensor, *, margin: int = 0) -> Tensor:
        """Residual to add to the warped reference, (B, 3, S, S).

        Args:
            reference: features for each flow.
            flow_B2hw: backward flow in units of the side, on the grid of `flow_stride`.
            margin: latent cells at each side in which nothing is computed and the residual is zero.
        """
        dtype = reference.coarse.dtype
        # In units of 8 pixels, so that a window decodes as the whole image does.
        moved = pack_flow(flow_B2hw * (flow_B2hw.shape[-1] * self.flow_stride / 8), self.flow_stride)
        x = _inner(moved.to(dtype), margin)
        for index, level in enumerate((reference.coarse, reference.middle, reference.fine)):
            if index:
                x = F.pixel_shuffle(self.ups[index - 1](x), 2)
            known = torch.cat(
                [warp(level, flow_B2hw), flow_derivatives(flow_B2hw, level.shape[-2:]).to(dtype)], 1
            )
            x = torch.cat([x, _inner(known, margin * 2**index)], 1)
            x = self.blocks[index](self.joins[index](x))
        residual = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(x))), PIXEL_STRIDE)
        return F.pad(residual, (margin * LATENT_STRIDE,) * 4)


def _inner(x: Tensor, margin: int) -> Tensor:
    """The map without `margin` cells at each side."""
    height, width = x.shape[-2:]
    return x[..., margin : height - margin, margin : width - margin]
