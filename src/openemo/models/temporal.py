"""Temporal modules with AnimateDiff's names and shapes: self-attention over frames at each pixel (EMO 3.2).

Shape letters: B clips, F video frames, n motion frames before them, P pixels (height*width), C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.attention import Attention, attend
from openemo.models.conditioning import Conditions, zero_
from openemo.models.layers import FeedForward, SinusoidalPositionalEmbedding

__all__ = ["TemporalModule", "TemporalTransformerBlock"]


class TemporalAttention(Attention):
    """Self-attention over frames, with AnimateDiff's table of sinusoidal positions in the state dict."""

    def __init__(self, dim: int, num_heads: int, max_frames: int) -> None:
        super().__init__(dim, heads=num_heads, dim_head=dim // num_heads)
        self.pos_encoder = SinusoidalPositionalEmbedding(dim, max_seq_length=max_frames)


class TemporalTransformerBlock(nn.Module):
    """Self-attention over frames, then speed attention (EMO 3.2, speed layers), then a feed-forward.

    Positions are added after each LayerNorm, to queries, keys and values, but not to the residual.
    In speed attention every token attends to the clip's speed tokens, which carry the same positions. Its
    output is zero-initialised; without `speed_dim` it does not exist.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_attentions: int,
        max_frames: int,
        ff_mult: int,
        speed_dim: int | None,
    ) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(dim, num_heads, max_frames) for _ in range(num_attentions)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_attentions))
        self.norm_speed = self.attn_speed = None
        if speed_dim is not None:
            self.norm_speed = nn.LayerNorm(dim)
            self.attn_speed = Attention(
                dim, cross_attention_dim=speed_dim, heads=num_heads, dim_head=dim // num_heads
            )
            zero_(self.attn_speed.to_out[0])
        self.ff = FeedForward(dim, mult=ff_mult)
        self.ff_norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, num_dropped: int, speed: Tensor | None) -> Tensor:
        """tokens (B*P, n+F, C), speed (B, F, D) -> (B*P, n+F-num_dropped, C).

        The first `num_dropped` frames are keys and values up to the last self-attention. They are dropped
        there, because the output does not contain them.
        """
        first_attention = cast(TemporalAttention, self.attention_blocks[0])
        positions = first_attention.pos_encoder.pe[:, : tokens.shape[1]].to(tokens.dtype)
        last = len(self.attention_blocks) - 1
        for i, (norm, attn) in enumerate(zip(self.norms, self.attention_blocks, strict=True)):
            context = norm(tokens) + positions
            first = num_dropped if i == last else 0
            tokens = tokens[:, first:] + attend(cast(Attention, attn), context[:, first:], context)
        if self.attn_speed is not None and self.norm_speed is not None and speed is not None:
            queries = self.norm_speed(tokens) + positions[:, num_dropped:]
            attended = attend(self.attn_speed, queries.reshape(speed.shape[0], -1, queries.shape[2]), speed)
            tokens = tokens + attended.reshape(tokens.shape)
        return tokens + self.ff(self.ff_norm(tokens))


class TemporalTransformer(nn.Module):
    """GroupNorm on each frame, linear, blocks, zero-initialised linear, residual."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        num_blocks: int,
        num_attentions: int,
        max_frames: int,
        norm_num_groups: int,
        ff_mult: int,
        speed_dim: int | None,
    ) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.norm = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TemporalTransformerBlock(channels, num_heads, num_attentions, max_frames, ff_mult, speed_dim)
            for _ in range(num_blocks)
        )
        self.proj_out = zero_(nn.Linear(channels, channels))

    def forward(
        self, hidden: Tensor, num_frames: int, motion: Tensor | None = None, speed: Tensor | None = None
    ) -> Tensor:
        """hidden (BF, C, H, W), motion (B, C, n, H, W), speed (B, F, D) -> (BF, C, H, W).

        Motion frames come before the video frames on the frame axis and are not part of the output.
        """
        height, width = hidden.shape[-2:]
        num_motion = 0 if motion is None else motion.shape[2]
        if num_motion + num_frames > self.max_frames:
            raise ConfigError(
                "more frames at once than the temporal modules have positions for",
                got=f"{num_frames} video and {num_motion} motion frames",
                expected=f"at most {self.max_frames} together",
            )
        frames = torch.unflatten(hidden, 0, (-1, num_frames))
        if motion is not None:
            frames = torch.cat([motion.transpose(1, 2), frames], dim=1)
        # A contiguous copy, because of two faults of torch's (2.13) GroupNorm with channels_last on a CPU: it
        # loses digits if the mean is large against the spread, and its backward pass crashes if the input
        # needs no gradient.
        normed = self.norm(frames.flatten(0, 1).clone(memory_format=torch.contiguous_format))
        frames = _pixels(normed, num_motion + num_frames)
        tokens = self.proj_in(frames.flatten(0, 1))
        last = len(self.transformer_blocks) - 1
        for i, block in enumerate(self.transformer_blocks):
            tokens = block(tokens, num_motion if i == last else 0, speed)
        residual: Tensor = self.proj_out(tokens).reshape(-1, height * width, num_frames, hidden.shape[1])
        residual = residual.transpose(1, 2).reshape(-1, height, width, hidden.shape[1])
        return hidden + residual.permute(0, 3, 1, 2)

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


def _pixels(frames: Tensor, num_frames: int) -> Tensor:
    """(B*F, C, H, W) -> (B, P, F, C)."""
    tokens = frames.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.unflatten(tokens, 0, (-1, num_frames)).transpose(1, 2)


class TemporalModule(nn.Module):
    """A temporal transformer under AnimateDiff's name, `motion_modules.{i}.temporal_transformer`."""

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        num_blocks: int = 1,
        num_attentions: int = 2,
        max_frames: int = 32,
        norm_num_groups: int = 32,
        ff_mult: int = 4,
        speed_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(
            channels, num_heads, num_blocks, num_attentions, max_frames, norm_num_groups, ff_mult, speed_dim
        )

    def forward(self, hidden: Tensor, conditions: Conditions, motion: Tensor | None = None) -> Tensor:
        """hidden (BF, C, H, W), motion (B, C, n, H, W) -> (BF, C, H, W)."""
        return self.temporal_transformer(hidden, conditions.num_frames, motion, conditions.speed)

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward
