"""Condition encoders of the UNet: identity, motion conditions, face locator and head speed.

Shape letters: B clips, F frames, T audio tokens of one frame, A audio_dim, D embedding, E time embedding, K
    motion conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.layers import SinusoidalPositionalEmbedding

__all__ = [
    "SPEED_CENTRES_RAD_S",
    "SPEED_RADII_RAD_S",
    "Conditions",
    "FaceLocator",
    "IdentityProjection",
    "MotionConditionEncoder",
    "SpeedEncoder",
    "fold",
    "modulate",
    "zero_",
]

# Nine buckets over EMO's useful range: 0.1 to 1.0 for speech, 1.0 to 1.3 for singing. Above 1.5 EMO jitters.
SPEED_CENTRES_RAD_S = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
SPEED_RADII_RAD_S = (0.2,) * 9

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def zero_(module: ModuleT) -> ModuleT:
    """Set all parameters to zero, so that a new branch does not change a trained network at first."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def fold(clip_BCFHW: Tensor) -> Tensor:
    """(B, C, F, H, W) -> (B*F, C, H, W), frame fastest.

    The memory format is channels_last, in which convolutions are twice as fast on a CPU.
    """
    return clip_BCFHW.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def modulate(normed: Tensor, embedding: Tensor) -> Tensor:
    """Scale and shift (BF, C, H, W) by (BF, 2C), the same at all positions; zeros change nothing."""
    scale, shift = embedding[..., None, None].chunk(2, dim=1)
    return normed * (1 + scale) + shift


@dataclass(frozen=True, slots=True)
class Conditions:
    """Inputs of the UNet's layers besides the hidden states. Layers whose input is None do not run.

    Args:
        num_frames: F, frames of one clip that are folded into the batch.
        time_embedding: (BF, E), after its activation.
        text: (BF, L, D_text), tokens for SD-1.5's text cross-attention: text, identity or audio.
        audio: (BF, T, A), audio tokens of each frame's window.
        speed: (B, F, D_speed).
        reference_rows: (BF,), the row of the reference tokens for each frame; None is the row of its clip.
        region_masks: for each level (BF, 3, H, W), in [0, 1], in the order of `REGIONS`.
        region_weights: (3,), factor on the audio attention of each region.
        is_clip: False if the frames are not consecutive; temporal modules then do not run.
    """

    num_frames: int
    time_embedding: Tensor
    text: Tensor | None = None
    audio: Tensor | None = None
    speed: Tensor | None = None
    reference_rows: Tensor | None = None
    region_masks: tuple[Tensor, ...] = ()
    region_weights: Tensor | None = None
    is_clip: bool = True


class IdentityProjection(nn.Module):
    """Face embedding to tokens for text cross-attention (Hallo): (B, D) -> (B, num_tokens, dim)."""

    def __init__(self, embedding_dim: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(embedding_dim, num_tokens * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, embedding_BD: Tensor) -> Tensor:
        tokens = torch.unflatten(self.proj(embedding_BD), 1, (-1, self.norm.normalized_shape[0]))
        return cast(Tensor, self.norm(tokens))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class MotionConditionEncoder(nn.Module):
    """Motion conditions (pose of the head) to an addition to each frame's timestep embedding.

    (B, F, K) -> (B, F, E): Linear, SiLU, and a zero-initialised Linear.
    """

    def __init__(self, num_motion_conditions: int, embed_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(num_motion_conditions, embed_dim)
        self.act = nn.SiLU()
        self.linear_2 = zero_(nn.Linear(embed_dim, embed_dim))

    def forward(self, motion_conditions_BFK: Tensor) -> Tensor:
        if motion_conditions_BFK.shape[-1] != self.linear_1.in_features:
            raise ConfigError(
                "the motion conditions do not fit the network",
                got=f"{motion_conditions_BFK.shape[-1]} values per frame",
                expected=str(self.linear_1.in_features),
            )
        return cast(Tensor, self.linear_2(self.act(self.linear_1(motion_conditions_BFK))))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class FaceLocator(nn.Module):
    """Encode the face-region mask to features of latent size (EMO 3.2, face locator).

    (B, M, H*s, W*s) in [0, 1] -> (B, C, H, W), s = `downscale`, a power of two: one strided convolution per
    halving, then a zero-initialised one. EMO adds the result "to the noisy latent"; here it is added to the
    output of `conv_in`.

    Args:
        in_channels: M.
        channels: None for the layout above. Otherwise the layout of ControlNet, Hallo and EchoMimic: a
            convolution at full size to `channels[0]`, then a plain and a strided one for each further width.
    """

    def __init__(
        self, out_channels: int, downscale: int, in_channels: int = 1, channels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        halvings = downscale.bit_length() - 1
        if downscale < 2 or downscale != 2**halvings:
            raise ConfigError(
                "the face locator cannot downscale the mask by this factor",
                got=downscale,
                expected="a power of two from 2",
            )
        if channels is None:
            widths = [in_channels] + [min(16 * 2**i, 128) for i in range(halvings)]
            strides = [2] * halvings
        else:
            widths = [in_channels, channels[0], *(c for pair in pairwise(channels) for c in pair)]
            strides = [1] + [1, 2] * (len(channels) - 1)
        if strides.count(2) != halvings:
            raise ConfigError(
                "the face locator does not downscale the mask to the size of the latents",
                got=f"channels {tuple(channels or ())}",
                expected=f"{halvings + 1} numbers of channels for {downscale} pixels per cell",
            )
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=stride, padding=1)
            for (before, after), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.act = nn.SiLU()
        self.conv_out = zero_(nn.Conv2d(widths[-1], out_channels, 3, padding=1))

    def forward(self, mask_BMHW: Tensor) -> Tensor:
        hidden = mask_BMHW
        for conv in self.convs:
            hidden = self.act(conv(hidden).contiguous(memory_format=torch.channels_last))
        return cast(Tensor, self.conv_out(hidden))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class SpeedEncoder(nn.Module):
    """Head-rotation speed of each frame to speed tokens (EMO 3.2, speed layers): (B, F) rad/s -> (B, F, dim).

    Bucket i with centre c_i and radius r_i gives s_i = tanh((w - c_i) / r_i * 3) for the speed w. An MLP
    reads the buckets of the frames from -m to +m; beyond the clip's ends its first and last speeds repeat.

    Args:
        centres_rad_s, radii_rad_s: bucket centres and radii in radians per second, valid at any fps.
        window: m, in frames.
        max_frames: length of the position table.
    """

    centres: Tensor
    radii: Tensor

    def __init__(
        self,
        centres_rad_s: Sequence[float],
        radii_rad_s: Sequence[float],
        window: int,
        dim: int,
        max_frames: int,
    ) -> None:
        super().__init__()
        if len(centres_rad_s) != len(radii_rad_s) or min(radii_rad_s) <= 0:
            raise ConfigError(
                "speed buckets need one positive radius per centre",
                got=f"{len(centres_rad_s)} centres, radii {tuple(radii_rad_s)}",
            )
        self.window = window
        self.register_buffer("centres", torch.tensor(tuple(centres_rad_s)))
        self.register_buffer("radii", torch.tensor(tuple(radii_rad_s)))
        self.linear_1 = nn.Linear((2 * window + 1) * len(centres_rad_s), dim)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(dim, dim)
        self.pos_encoder = SinusoidalPositionalEmbedding(dim, max_seq_length=max_frames)

    def forward(self, speed_BF: Tensor, first_position: int = 0) -> Tensor:
        """`first_position` is the clip's first position on the frame axis: the number of motion frames."""
        num_frames = speed_BF.shape[1]
        buckets_BFd = torch.tanh((speed_BF[..., None] - self.centres) / self.radii * 3)
        buckets_BFd = buckets_BFd.to(self.linear_1.weight.dtype)
        offsets = torch.arange(-self.window, self.window + 1, device=speed_BF.device)
        frames = torch.arange(num_frames, device=speed_BF.device)
        neighbours = (frames[:, None] + offsets).clamp(0, num_frames - 1)
        tokens: Tensor = self.linear_2(self.act(self.linear_1(buckets_BFd[:, neighbours].flatten(2))))
        positions = self.pos_encoder.pe[:, first_position : first_position + num_frames]
        return tokens + positions.to(tokens.dtype)

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward
