"""Whisper's encoder (Radford et al. 2022) under transformers' names, so that its files fit.

transformers' own class computes the same bits (`tests/audio/test_whisper.py`); importing it takes
longer than making a second of video.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from openemo.settings import StrictModel

__all__ = ["WhisperConfig", "WhisperNetwork"]

_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}
_MAX_PERIOD: Final = 10_000


class WhisperConfig(StrictModel):
    """What the encoder reads of transformers' WhisperConfig, under its names; defaults are Whisper tiny's."""

    model_config = ConfigDict(strict=True)

    d_model: int = Field(384, ge=2)
    encoder_layers: int = Field(4, ge=1)
    encoder_attention_heads: int = Field(6, ge=1)
    encoder_ffn_dim: int = Field(1536, ge=1)
    num_mel_bins: int = Field(80, ge=1)
    max_source_positions: int = Field(1500, ge=1)
    activation_function: Literal["gelu", "relu", "silu"] = "gelu"

    def to_diff_dict(self) -> dict[str, Any]:
        """The contents of config.json, in which transformers finds the class, too."""
        return {"model_type": "whisper", "is_encoder_decoder": True} | self.model_dump()


class WhisperAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"d_model {dim} is no multiple of encoder_attention_heads {num_heads}")
        self.num_heads = num_heads
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, tokens_BTC: Tensor) -> Tensor:
        head_dim = tokens_BTC.shape[-1] // self.num_heads
        # Queries are scaled before the product, as in OpenAI's code: another order is another last bit.
        query, key, value = (
            torch.unflatten(part, 2, (self.num_heads, head_dim)).transpose(1, 2).contiguous()
            for part in (
                self.q_proj(tokens_BTC) * head_dim**-0.5,
                self.k_proj(tokens_BTC),
                self.v_proj(tokens_BTC),
            )
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


class WhisperEncoderLayer(nn.Module):
    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.activation_function]
        self.self_attn = WhisperAttention(config.d_model, config.encoder_attention_heads)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)

    def forward(self, hidden_BTC: Tensor) -> Tensor:
        hidden_BTC = hidden_BTC + self.self_attn(self.self_attn_layer_norm(hidden_BTC))
        hidden_BTC = hidden_BTC + self.fc2(self.activation(self.fc1(self.final_layer_norm(hidden_BTC))))
        if hidden_BTC.dtype == torch.float16:  # whose range large encoders leave
            limit = torch.finfo(torch.float16).max - 1000
            hidden_BTC = hidden_BTC.clamp(-limit, limit)
        return hidden_BTC

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class WhisperNetwork(nn.Module):
    """The layers, which `WhisperEncoder` runs over windows of any length; and as a whole, over 30 s.

    Shape letters: B batch, M mel bins, T tokens at 50 Hz, C `d_model`.
    """

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.d_model
        self.conv1 = nn.Conv1d(config.num_mel_bins, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config.max_source_positions, dim).requires_grad_(False)
        if not self.embed_positions.weight.is_meta:
            self.embed_positions.weight.copy_(_sinusoids(config.max_source_positions, dim))
        self.layers = nn.ModuleList(WhisperEncoderLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(dim)

    def embed(self, mel_BMT: Tensor) -> Tensor:
        """(B, M, 2 T) to (B, T, C), the input of the first layer."""
        hidden_BCT = F.gelu(self.conv2(F.gelu(self.conv1(mel_BMT))))
        return hidden_BCT.transpose(1, 2) + self.embed_positions.weight[: hidden_BCT.shape[2]]

    def forward(self, mel_BMT: Tensor) -> Tensor:
        """(B, M, 2 T) to the last hidden state (B, T, C), after the final layer norm."""
        hidden_BTC = self.embed(mel_BMT)
        for layer in self.layers:
            hidden_BTC = layer(hidden_BTC)
        normed: Tensor = self.layer_norm(hidden_BTC)
        return normed

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


def _sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): Whisper's positions, sines and then cosines, for networks without weights."""
    half = dim // 2
    frequencies = torch.exp(-math.log(_MAX_PERIOD) / max(half - 1, 1) * torch.arange(half))
    angles = torch.arange(length)[:, None] * frequencies
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, dim % 2))
