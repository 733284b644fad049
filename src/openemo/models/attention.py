"""Attention over space: a frame's tokens look at themselves, the reference, the text and the sound.

Shape letters: B clips, F frames, N spatial tokens (height*width, row-major), M reference tokens, C channels.
Frames are folded into the batch, frame fastest: BF.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention as DiffusersAttention
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.conditioning import Conditions, zero_

__all__ = ["Attention", "SpatialTransformer", "SpatialTransformerBlock", "attend", "slice_attention"]

_MOST_SCORES = 2**18  # of a row and head, as plain products; more takes too much memory


class Attention(DiffusersAttention):  # type: ignore[misc]
    """The layers of diffusers' attention; `attend` computes it.

    Attributes:
        slice_rows: sequences that attend at once (frames, or pixels over time); None is all.
    """

    slice_rows: int | None = None


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
        context: (BF, K, D), the tokens looked at; pass `queries` for self-attention.
        shared: (B, M, D), more tokens to look at, the same for all F frames of a clip. Their keys and
            values are computed once per clip, which equals computing them from the concatenation [context ;
            shared].
        rows: (BF,), the row of `shared` that each frame looks at, where that is not its clip's.

    Returns:
        (BF, N, C).
    """
    query, key, value = attn.to_q(queries), attn.to_k(context), attn.to_v(context)
    if shared is not None:
        key = _append(key, attn.to_k(shared), rows)
        value = _append(value, attn.to_v(shared), rows)
    parts = (_heads(attn, part) for part in (query, key, value))
    most = attn.slice_rows or len(query)
    slices = zip(*(torch.split(part, most) for part in parts), strict=True)
    mixed = [_mix(*slice_) for slice_ in slices]
    whole = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
    output: Tensor = attn.to_out[0](whole.transpose(1, 2).flatten(2))
    return output


def _mix(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, heads, N, C), (B, heads, K, C) twice -> (B, heads, N, C)."""
    # torch's (2.13) fused attention learns slowly in bfloat16 on a CPU: its backward pass takes two to ten
    # times as long as that of plain products, which keep all scores.
    is_cpu_learning = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad
    if is_cpu_learning and query.shape[-2] * key.shape[-2] <= _MOST_SCORES:
        scores = query @ (key.transpose(-1, -2) * query.shape[-1] ** -0.5)
        return torch.softmax(scores, -1, dtype=query.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value)


def slice_attention(network: nn.Module, rows: int | None) -> None:
    """Sets `slice_rows` of each attention of the network.

    Where the device has a fused attention, its memory is small anyway; elsewhere it grows with the square of
    the number of tokens, times the rows. None is all at once. Raises ConfigError for less than one row.
    """
    if rows is not None and rows < 1:
        raise ConfigError("attention needs at least one row at once", got=rows, expected="1 or more")
    for module in network.modules():
        if isinstance(module, Attention):
            module.slice_rows = rows


def _heads(attn: Attention, tokens: Tensor) -> Tensor:
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

    Reference attention: the paper says that it "replaces the text cross-attention". Here, as in the open
    relatives (Hallo, EchoMimic, AnimateAnyone), attn1's keys and values come from [own tokens ; reference
    tokens of the same layer], both after norm1. So no new weights are needed, SD-1.5's fit, and no
    reference is plain self-attention.

    attn2, the text slot of SD-1.5, exists if `text_dim` is given, and is skipped when there is no text (EMO
    has none); what it adds is multiplied by `text_gain`. Audio attention follows; a frame sees its own audio
    tokens only; zero-initialised at its output.
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
            said = attend(self.attn2, self.norm2(tokens), conditions.text)
            tokens = torch.add(tokens, said, alpha=self.text_gain)
        if self.attn_audio is not None and self.norm_audio is not None and conditions.audio is not None:
            tokens = tokens + attend(self.attn_audio, self.norm_audio(tokens), conditions.audio)
        tokens = tokens + self.ff(self.norm3(tokens))
        return tokens, normed


class SpatialTransformer(nn.Module):
    """SD-1.5's spatial transformer, names and shapes included: GroupNorm, 1x1 in, one block, 1x1 out."""

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
        """hidden (BF, C, H, W), reference (B, M, C) -> hidden, and norm1's tokens (BF, HW, C) to hand on."""
        height, width = hidden.shape[-2:]
        tokens = self.proj_in(self.norm(hidden)).permute(0, 2, 3, 1).flatten(1, 2)
        tokens, normed = self.transformer_blocks[0](tokens, conditions, reference)
        residual = self.proj_out(torch.unflatten(tokens, 1, (height, width)).permute(0, 3, 1, 2))
        return hidden + residual, normed
