"""Audio conditioning: speech features to audio tokens and to the time embedding (EMO 3.2, audio layers).

Shape letters: B clips, F frames, T audio tokens of one frame, D speech features, A audio_dim,
    E time embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.conditioning import zero_

__all__ = ["AudioProjection", "AudioTimeEmbedding", "WindowAudioProjection", "check_features"]


def check_features(audio_BFTD: Tensor, expected: tuple[int, int]) -> None:
    """Raise ConfigError unless the features have the `expected` (tokens per frame, values per token)."""
    if tuple(audio_BFTD.shape[2:]) != expected:
        raise ConfigError(
            "the speech features do not fit the network",
            got=f"{audio_BFTD.shape[2]} tokens of {audio_BFTD.shape[3]} values per frame",
            expected=f"{expected[0]} tokens of {expected[1]} values",
        )


class AudioProjection(nn.Module):
    """Project each speech feature of a frame's window to an audio token (EMO 3.2, audio layers).

    (B, F, T, D) -> (B, F, T, A): LayerNorm, Linear, GELU, Linear, plus a learned position embedding.
    """

    def __init__(self, feature_dim: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_dim)
        self.linear_1 = nn.Linear(feature_dim, dim)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(dim, dim)
        self.position = nn.Parameter(nn.init.normal_(torch.empty(num_tokens, dim), std=0.02))

    def forward(self, audio_BFTD: Tensor) -> Tensor:
        check_features(audio_BFTD, (self.position.shape[0], self.norm.normalized_shape[0]))
        tokens: Tensor = self.linear_2(self.act(self.linear_1(self.norm(audio_BFTD))))
        return tokens + self.position.to(tokens.dtype)

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class WindowAudioProjection(nn.Module):
    """Project a whole window of speech features to audio tokens (Hallo): (B, F, W, D) -> (B, F, T, A).

    Three linear layers with ReLU read the flattened window; each token then has a LayerNorm.

    Args:
        window: W, features per window.
        feature_dim: D, e.g. the concatenated layers of a speech encoder.
        hidden_dim: width between the linear layers.
        num_tokens: T.
        dim: A.
    """

    def __init__(self, window: int, feature_dim: int, hidden_dim: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.expected = (window, feature_dim)
        self.linear_1 = nn.Linear(window * feature_dim, hidden_dim)
        self.linear_2 = nn.Linear(hidden_dim, hidden_dim)
        self.linear_3 = nn.Linear(hidden_dim, num_tokens * dim)
        self.act = nn.ReLU()
        self.norm = nn.LayerNorm(dim)

    def forward(self, audio_BFTD: Tensor) -> Tensor:
        check_features(audio_BFTD, self.expected)
        hidden = self.act(self.linear_1(audio_BFTD.flatten(2)))
        hidden = self.linear_3(self.act(self.linear_2(hidden)))
        return cast(Tensor, self.norm(torch.unflatten(hidden, 2, (-1, self.norm.normalized_shape[0]))))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class AudioTimeEmbedding(nn.Module):
    """Audio tokens of a frame to an addition to its timestep embedding: (B, F, T, A) -> (B, F, E).

    Not in the paper. It reaches every ResNet block directly, so a small network learns lip sync much sooner.
    """

    def __init__(self, num_tokens: int, dim: int, time_embed_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(num_tokens * dim, time_embed_dim)
        self.act = nn.SiLU()
        self.linear_2 = zero_(nn.Linear(time_embed_dim, time_embed_dim))

    def features(self, tokens_BFTA: Tensor) -> Tensor:
        """(B, F, E), the activations before the last layer."""
        return cast(Tensor, self.act(self.linear_1(tokens_BFTA.flatten(2))))

    def forward(self, tokens_BFTA: Tensor) -> Tensor:
        return cast(Tensor, self.linear_2(self.features(tokens_BFTA)))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward
