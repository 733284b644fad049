"""Layers of SD-1.5's UNet under diffusers' names and shapes.

`tests/models/test_live_parity.py` compares whole networks of them with diffusers' own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Downsample2D",
    "FeedForward",
    "SinusoidalPositionalEmbedding",
    "TimestepEmbedding",
    "Timesteps",
    "Upsample2D",
]

_MAX_PERIOD = 10_000


class Timesteps(nn.Module):
    """Sinusoidal embedding of timesteps, cosines first: frequencies from 1 down to nearly 1 / 10,000."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.num_channels = num_channels

    def forward(self, timesteps_B: Tensor) -> Tensor:
        """(B,) to (B, num_channels) float32."""
        half = self.num_channels // 2
        order = torch.arange(half, dtype=torch.float32, device=timesteps_B.device)
        frequencies = torch.exp(-math.log(_MAX_PERIOD) * order / half)
        angles = timesteps_B[:, None].float() * frequencies
        embedding = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
        return F.pad(embedding, (0, self.num_channels % 2))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class TimestepEmbedding(nn.Module):
    """Two linear layers with SiLU between them."""

    def __init__(self, in_channels: int, time_embed_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, time_embed_dim)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(time_embed_dim, time_embed_dim)

    def forward(self, embedding: Tensor) -> Tensor:
        hidden: Tensor = self.linear_2(self.act(self.linear_1(embedding)))
        return hidden

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class SinusoidalPositionalEmbedding(nn.Module):
    """A table of sinusoidal positions, sines and cosines in turn (Vaswani et al. 2017).

    Attributes:
        pe: (1, max_seq_length, embed_dim).
    """

    pe: Tensor

    def __init__(self, embed_dim: int, max_seq_length: int) -> None:
        super().__init__()
        table = torch.zeros(1, max_seq_length, embed_dim)
        if not table.is_meta:  # its values come with the weights, and computing them there imports a compiler
            position = torch.arange(max_seq_length)[:, None]
            frequencies = torch.exp(torch.arange(0, embed_dim, 2) * (-math.log(_MAX_PERIOD) / embed_dim))
            table[0, :, 0::2] = torch.sin(position * frequencies)
            table[0, :, 1::2] = torch.cos(position * frequencies)
        self.register_buffer("pe", table)


class GEGLU(nn.Module):
    """A linear layer of two halves; the second one, through GELU, gates the first (Shazeer 2020)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, 2 * dim_out)

    def forward(self, tokens: Tensor) -> Tensor:
        values, gate = self.proj(tokens).chunk(2, dim=-1)
        gated: Tensor = values * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """GEGLU and a linear layer, of `mult` times the width between them."""

    def __init__(self, dim: int, *, mult: int) -> None:
        super().__init__()
        # The second place is a dropout's in SD-1.5, whose names count it.
        self.net = nn.ModuleList([GEGLU(dim, dim * mult), nn.Identity(), nn.Linear(dim * mult, dim)])

    def forward(self, tokens: Tensor) -> Tensor:
        for module in self.net:
            tokens = module(tokens)
        return tokens

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class Downsample2D(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        halved: Tensor = self.conv(hidden)
        return halved

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class Upsample2D(nn.Module):
    """Nearest-neighbour upsampling and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: Tensor, size: torch.Size) -> Tensor:
        """To `size`, that of the skip connection, which may be odd."""
        doubled: Tensor = self.conv(F.interpolate(hidden, size=tuple(size), mode="nearest"))
        return doubled

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward
