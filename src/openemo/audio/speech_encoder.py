"""What the pipeline needs of a speech encoder: `WhisperEncoder` and `Wav2VecEncoder` are the two kinds."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import nn

from openemo.audio.audio_reader import Audio
from openemo.audio.speech_features import SpeechFeatures

__all__ = ["SpeechEncoder"]


class SpeechEncoder(Protocol):
    """A frozen speech network with the way its hidden states become features of video frames."""

    @property
    def encoder(self) -> nn.Module:
        """The network itself."""

    @property
    def feature_dim(self) -> int:
        """Values per token: the hidden width times the number of layers."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def options(self) -> dict[str, Any]:
        """The keyword arguments that make this encoder from its network."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Moves the weights in place and returns the encoder itself."""

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors, in the present dtype."""

    def encode(self, audio: Audio, *, fps: Fraction, clip_frames: int) -> SpeechFeatures:
        """Features for the frames of a video of the whole audio.

        Args:
            fps: frames per second of the video.
            clip_frames: frames that are denoised together.

        Raises:
            AudioError: no samples, or too few for the network.
        """
