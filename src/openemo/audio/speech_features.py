"""Speech features of a whole audio track, and the window of them that belongs to each video frame."""

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
    """Speech tokens of a whole audio track.

    Windows repeat the first token before the start and the last token after the end. Zeros would not mean
    silence: a network that learned them from the ends of training clips closes the mouth there, even of a
    smiling portrait.

    Attributes:
        values: (num_tokens, feature_dim); token i is centred on i / rate_hz seconds.
        rate_hz: tokens per second.
        anchor: the moment of a frame that its window is centred on.
        tokens_per_row: number of consecutive tokens that each row of a window is split into.
    """

    values: Tensor
    rate_hz: int | Fraction = 50
    anchor: Anchor = "middle"
    tokens_per_row: int = 1

    def positions(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int) -> Tensor:
        """(len(frames), window_tokens) int64: the rows of `values` in the window of each frame."""
        starts = [
            speech_window_start(frame, fps, self.rate_hz, window_tokens, self.anchor) for frame in frames
        ]
        device = self.values.device
        starts_F1 = torch.tensor(starts, dtype=torch.long, device=device)[:, None]
        rows_FT = starts_F1 + torch.arange(window_tokens, device=device)
        return rows_FT.clamp(0, len(self.values) - 1)

    def windows(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int = 10) -> Tensor:
        """(len(frames), window_tokens, feature_dim): the window of each frame, A(f) of EMO 3.2.

        With `tokens_per_row` k the shape is (len(frames), window_tokens * k, feature_dim / k).
        """
        windows_FTD = self.values[self.positions(frames, fps, window_tokens)]
        return windows_FTD.reshape(len(windows_FTD), window_tokens * self.tokens_per_row, -1)
