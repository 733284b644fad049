"""Audio attention by region: separate layers for the full image, the face and the lips (Hallo).

Shape letters: B clips, F frames, N spatial tokens (height*width, row-major), C channels, I inner width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.attention import Attention, attend
from openemo.models.conditioning import Conditions, zero_
from openemo.models.layers import FeedForward

__all__ = ["REGIONS", "RegionAudioTransformer", "with_regions"]

REGIONS = ("full", "face", "lip")


class RegionAudioBlock(nn.Module):
    """Self-attention, one audio attention for each region, feed-forward.

    All regions attend to the same audio tokens. The output of each is masked, goes through a zero-initialised
    1x1 convolution, and is added with the region's weight. The convolution's bias also acts outside the mask.
    """

    def __init__(self, dim: int, num_heads: int, ff_mult: int, audio_dim: int) -> None:
        super().__init__()
        head_dim = dim // num_heads
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads=num_heads, dim_head=head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn_regions = nn.ModuleList(
            Attention(dim, cross_attention_dim=audio_dim, heads=num_heads, dim_head=head_dim) for _ in REGIONS
        )
        self.conv_regions = nn.ModuleList(zero_(nn.Conv2d(dim, dim, 1)) for _ in REGIONS)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, mult=ff_mult)

    def forward(self, tokens: Tensor, audio: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
        """tokens (BF, N, I), audio (BF, T, A), masks (BF, 3, N, 1), weights (3,) -> (BF, N, I)."""
        normed = self.norm1(tokens)
        tokens = tokens + attend(self.attn1, normed, normed)
        queries = self.norm2(tokens)
        for region, (attn, conv) in enumerate(zip(self.attn_regions, self.conv_regions, strict=True)):
            masked = attend(cast(Attention, attn), queries, audio) * masks[:, region]
            residual = conv(masked.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
            tokens = tokens + weights[region] * residual
        return tokens + self.ff(self.norm3(tokens))


class RegionAudioTransformer(nn.Module):
    """GroupNorm, 1x1 conv, one block, 1x1 conv, residual; follows a spatial transformer.

    Args:
        channels: C.
        width: I, before it is rounded down to a multiple of `num_heads`.
        level: index of the region mask that fits the feature map.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        audio_dim: int,
        *,
        level: int,
        num_heads: int,
        norm_num_groups: int,
        ff_mult: int,
    ) -> None:
        super().__init__()
        inner = width // num_heads * num_heads
        self.level = level
        self.norm = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList([RegionAudioBlock(inner, num_heads, ff_mult, audio_dim)])
        self.proj_out = nn.Conv2d(inner, channels, 1)

    def forward(self, hidden: Tensor, conditions: Conditions) -> Tensor:
        """hidden (BF, C, H, W), with audio and region masks in `conditions` -> (BF, C, H, W)."""
        masks, weights = conditions.region_masks, conditions.region_weights
        if conditions.audio is None or weights is None or len(masks) <= self.level:
            raise ConfigError(
                "this network applies audio by regions of the face, but region masks or audio are missing",
                fix="Give the audio and the region masks of all levels",
            )
        height, width = hidden.shape[-2:]
        mask = masks[self.level]
        if mask.shape[-2:] != hidden.shape[-2:]:
            raise ConfigError(
                f"the region masks of level {self.level} do not fit the feature map",
                got=tuple(mask.shape[-2:]),
                expected=str((height, width)),
            )
        tokens = self.proj_in(self.norm(hidden)).permute(0, 2, 3, 1).flatten(1, 2)
        tokens = self.transformer_blocks[0](tokens, conditions.audio, mask.flatten(2)[..., None], weights)
        residual = self.proj_out(torch.unflatten(tokens, 1, (height, width)).permute(0, 3, 1, 2))
        return cast(Tensor, hidden + residual)

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


def with_regions(conditions: Conditions, masks: Sequence[Tensor], weights: Tensor | None) -> Conditions:
    """`conditions` with region masks and weights.

    Args:
        masks: for each level (B or 1, 3, H, W), the same for all frames of a clip.
        weights: (3,), factor on the audio attention of each region; None is 1.

    Raises:
        ConfigError: a tensor of a wrong shape.
    """
    frames, embedding = conditions.num_frames, conditions.time_embedding
    batch = embedding.shape[0] // frames
    for mask in masks:
        if mask.ndim != 4 or mask.shape[0] not in (1, batch) or mask.shape[1] != len(REGIONS):
            raise ConfigError(
                "a region mask has the wrong shape",
                got=tuple(mask.shape),
                expected=f"({batch} or 1, {len(REGIONS)}, height, width)",
            )
    if weights is None:
        weights = torch.ones(len(REGIONS))
    if tuple(weights.shape) != (len(REGIONS),):
        raise ConfigError(
            "the weights are not one per region", got=tuple(weights.shape), expected=f"({len(REGIONS)},)"
        )
    masks = [mask.to(embedding).expand(batch, -1, -1, -1).repeat_interleave(frames, 0) for mask in masks]
    return replace(conditions, region_masks=tuple(masks), region_weights=weights.to(embedding))
