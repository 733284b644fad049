"""Speech features of a whole sound, and the window of them that each frame of the video hears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from openemo.timing import Anchor, speech_window_start

__all__ = ["SpeechFeatures"]


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """Speech tokens of a whole sound.

    Before it and after it stand its first and its last token again. Zeros are no sound at all: a network that
    knows them from the ends of its training's clips shuts the mouth there, also of a portrait that smiles.

    Attributes:
        values: (num_tokens, feature_dim); token i is centred on i / rate_hz seconds.
        rate_hz: tokens per second.
        anchor: which moment of a frame its window is centred on.
        tokens_per_row: into how many tokens, one after the other, a row of a window is cut.
    """

    values: Tensor
    rate_hz: int | Fraction = 50
    anchor: Anchor = "middle"
    tokens_per_row: int = 1

    def positions(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int) -> Tensor:
        """(len(frames), window_tokens) int64: the rows of `values` that each frame hears."""
        starts = [
            speech_window_start(frame, fps, self.rate_hz, window_tokens, self.anchor) for frame in frames
        ]
        device = self.values.device
        starts_F1 = torch.tensor(starts, dtype=torch.long, device=device)[:, None]
        rows_FT = starts_F1 + torch.arange(window_tokens, device=device)
        return rows_FT.clamp(0, len(self.values) - 1)

    def windows(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int = 10) -> Tensor:
        """(len(frames), window_tokens, feature_dim): what each frame hears, A(f) of EMO 3.2.

        With `tokens_per_row` k: (len(frames), window_tokens * k, feature_dim / k).
        """
        windows_FTD = self.values[self.positions(frames, fps, window_tokens)]
        return windows_FTD.reshape(len(windows_FTD), window_tokens * self.tokens_per_row, -1)
