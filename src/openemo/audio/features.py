"""Speech features of a whole sound, and the window of them that each frame of the video hears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from openemo.timing import Anchor, speech_window_start

__all__ = ["Edges", "SpeechFeatures"]

Edges = Literal["zeros", "repeat"]
"""What stands for tokens before the start and after the end of the sound."""


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """Speech tokens of a whole sound.

    Attributes:
        values: (num_tokens, feature_dim); token i is centred on i / rate_hz seconds.
        rate_hz: tokens per second.
        anchor: which moment of a frame its window is centred on.
        edges: "zeros", or "repeat" for the first and the last token again.
        tokens_per_row: into how many tokens, one after the other, a row of a window is cut.
    """

    values: Tensor
    rate_hz: int | Fraction = 50
    anchor: Anchor = "middle"
    edges: Edges = "zeros"
    tokens_per_row: int = 1

    def positions(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int) -> Tensor:
        """(len(frames), window_tokens) int64: rows that each frame hears, in or out of the sound."""
        starts = [
            speech_window_start(frame, fps, self.rate_hz, window_tokens, self.anchor) for frame in frames
        ]
        device = self.values.device
        return torch.tensor(starts, dtype=torch.long, device=device)[:, None] + torch.arange(
            window_tokens, device=device
        )

    def windows(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int = 10) -> Tensor:
        """(len(frames), window_tokens, feature_dim): what each frame hears, A(f) of EMO 3.2.

        With `tokens_per_row` k: (len(frames), window_tokens * k, feature_dim / k).
        """
        positions_FT = self.positions(frames, fps, window_tokens)
        num_tokens = self.values.shape[0]
        windows_FTD = self.values[positions_FT.clamp(0, num_tokens - 1)]
        if self.edges == "zeros":
            inside_FT = (positions_FT >= 0) & (positions_FT < num_tokens)
            windows_FTD = torch.where(inside_FT[..., None], windows_FTD, windows_FTD.new_zeros(()))
        tokens = window_tokens * self.tokens_per_row
        return windows_FTD.reshape(len(positions_FT), tokens, -1)
