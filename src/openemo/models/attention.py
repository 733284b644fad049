"""Spatial attention: self-attention with reference tokens, text cross-attention, audio cross-attention.

Shape letters: B clips, F frames, N spatial tokens (height*width, row-major), M reference tokens, C channels.
Frames are folded into the batch, frame fastest: BF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.conditioning import Conditions, zero_
from openemo.models.layers import FeedForward

__all__ = ["Attention", "SpatialTransformer", "SpatialTransformerBlock", "attend", "slice_attention"]

# Scores per row and head that plain products may keep; more takes too much memory.
_MAX_PLAIN_SCORES = 2**18


class Attention(nn.Module):
    """The layers of multi-head attention, under diffusers' names; `attend` runs them.

    Args:
        query_dim: of the queries' tokens, and of the output.
        cross_attention_dim: of the tokens for keys and values; None is `query_dim`.

    Attributes:
        slice_rows: number of sequences (frames, or pixels over time) that are computed at once; None is all.
    """

    slice_rows: int | None = None

    def __init__(
        self, query_dim: int, *, heads: int, dim_head: int, cross_attention_dim: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        inner_dim = heads * dim_head
        context_dim = query_dim if cross_attention_dim is None else cross_attention_dim
        self.to_q = nn.Linear(query_dim, inner_dim, bias=False)
        self.to_k = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_v = nn.Linear(context_dim, inner_dim, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner_dim, query_dim)])


def attend(
    attn: Attention,
    queries: Tensor,
    context: Tensor,
    shared: Tensor | None = None,
    rows: Tensor | None = None,
) -> Tensor:
    """Multi-head attention.

    Args:
        queries: (BF, N, C).
        context: (BF, K, D), tokens for keys and values; pass `queries` for self-attention.
        shared: (B, M, D), further tokens for keys and values, the same for all F frames of a clip. They are
            projected once per clip. The result equals attention over [context ; shared].
        rows: (BF,), the row of `shared` for each frame; None is the row of the frame's clip.

    Returns:
        (BF, N, C).
    """
    query, key, value = attn.to_q(queries), attn.to_k(context), attn.to_v(context)
    if shared is not None:
        key = _append(key, attn.to_k(shared), rows)
        value = _append(value, attn.to_v(shared), rows)
    parts = (_split_heads(attn, part) for part in (query, key, value))
    rows_at_once = attn.slice_rows or len(query)
    slices = zip(*(torch.split(part, rows_at_once) for part in parts), strict=True)
    outputs = [_attention(*slice_) for slice_ in slices]
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return cast(Tensor, attn.to_out[0](joined.transpose(1, 2).flatten(2)))


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, heads, N, C), (B, heads, K, C) twice -> (B, heads, N, C)."""
    # On a CPU in bfloat16, the backward pass of torch's (2.13) fused attention takes two to ten times as long
    # as that of plain products. Plain products keep all scores in memory.
    is_cpu_training = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    if is_cpu_training and query.shape[-2] * key.shape[-2] <= _MAX_PLAIN_SCORES:
        scores = query @ (key.transpose(-1, -2) * query.shape[-1] ** -0.5)
        return torch.softmax(scores, -1, dtype=query.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


def slice_attention(network: nn.Module, rows: int | None) -> None:
    """Set `slice_rows` of every attention layer in the network; None computes all rows at once.

    Fused attention needs little memory anyway. Without it, memory grows with rows times tokens squared.

    Raises:
        ConfigError: `rows` is less than 1.
    """
    if rows is not None and rows < 1:
        raise ConfigError("attention needs at least one row at once", got=rows, expected="1 or more")
    for module in network.modules():
        if isinstance(module, Attention):
            module.slice_rows = rows


def _split_heads(attn: Attention, tokens: Tensor) -> Tensor:
    """(B, N, C) -> (B, heads, N, C/heads)."""
    return torch.unflatten(tokens, 2, (attn.heads, -1)).transpose(1, 2)


def _append(own: Tensor, shared: Tensor, rows: Tensor | None) -> Tensor:
    """(BF, N, C), (B, M, C) -> (BF, N+M, C)."""
    if rows is not None:
        return torch.cat([own, shared[rows]], dim=1)
    batch = shared.shape[0]
    frames = own.shape[0] // batch
    repeated = shared[:, None].expand(-1, frames, -1, -1)
    return torch.cat([torch.unflatten(own, 0, (batch, frames)), repeated], dim=2).flatten(0, 1)


class SpatialTransformerBlock(nn.Module):
    """SD-1.5's transformer block with EMO's reference attention and audio attention.

    Reference attention: EMO says that it "replaces the text cross-attention". Here, as in Hallo, EchoMimic
    and AnimateAnyone, the keys and values of attn1 come from [own tokens ; reference tokens of the same
    layer], both after norm1. This needs no new weights. Without a reference it is plain self-attention.

    Text cross-attention (attn2) exists if `text_dim` is given. It is skipped without text (EMO uses none);
    its output is multiplied by `text_gain`. Audio cross-attention follows, with a zero-initialised output. A
    frame attends to its own audio tokens only.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        ff_mult: int,
        text_dim: int | None,
        audio_dim: int | None,
        text_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.text_gain = text_gain
        head_dim = dim // num_heads
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, heads=num_heads, dim_head=head_dim)
        self.norm2 = self.attn2 = self.norm_audio = self.attn_audio = None
        if text_dim is not None:
            self.norm2 = nn.LayerNorm(dim)
            self.attn2 = Attention(dim, cross_attention_dim=text_dim, heads=num_heads, dim_head=head_dim)
        if audio_dim is not None:
            self.norm_audio = nn.LayerNorm(dim)
            self.attn_audio = Attention(
                dim, cross_attention_dim=audio_dim, heads=num_heads, dim_head=head_dim
            )
            zero_(self.attn_audio.to_out[0])
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, mult=ff_mult)

    def forward(
        self, tokens: Tensor, conditions: Conditions, reference: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """tokens (BF, N, C), reference (B, M, C) -> tokens (BF, N, C) and the output of norm1, (BF, N, C)."""
        normed = self.norm1(tokens)
        tokens = tokens + attend(self.attn1, normed, normed, shared=reference, rows=conditions.reference_rows)
        if self.attn2 is not None and self.norm2 is not None and conditions.text is not None:
            text = attend(self.attn2, self.norm2(tokens), conditions.text)
            tokens = torch.add(tokens, text, alpha=self.text_gain)
        if self.attn_audio is not None and self.norm_audio is not None and conditions.audio is not None:
            tokens = tokens + attend(self.attn_audio, self.norm_audio(tokens), conditions.audio)
        tokens = tokens + self.ff(self.norm3(tokens))
        return tokens, normed

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class SpatialTransformer(nn.Module):
    """SD-1.5's spatial transformer, with its names and shapes: GroupNorm, 1x1 conv, one block, 1x1 conv."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        norm_num_groups: int,
        ff_mult: int,
        text_dim: int | None,
        audio_dim: int | None,
        text_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(
            [SpatialTransformerBlock(channels, num_heads, ff_mult, text_dim, audio_dim, text_gain)]
        )
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(
        self, hidden: Tensor, conditions: Conditions, reference: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """hidden (BF, C, H, W), reference (B, M, C) -> hidden, and norm1's output (BF, HW, C)."""
        height, width = hidden.shape[-2:]
        tokens = self.proj_in(self.norm(hidden)).permute(0, 2, 3, 1).flatten(1, 2)
        tokens, normed = self.transformer_blocks[0](tokens, conditions, reference)
        residual = self.proj_out(torch.unflatten(tokens, 1, (height, width)).permute(0, 3, 1, 2))
        return hidden + residual, normed

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward
