"""Articulatory features of speech: is the tip of the tongue raised, are the lips shut?

A mouth's landmarks do not show the tongue, so no film teaches it. A small network hears it in Whisper's
states. `openemo train articulation` trains it on synthetic voices whose phones are known.

Shape letters: N tokens, D their width, F frames, K features, in the order of `FEATURES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from openemo.arrays import Doubles
from openemo.audio.speech_encoder import SpeechEncoder
from openemo.audio.speech_features import SpeechFeatures
from openemo.audio.whisper import WhisperEncoder
from openemo.errors import ConfigError
from openemo.weight_files import load_network_weights

__all__ = [
    "FEATURES",
    "FEATURE_DIM",
    "ArticulatoryFeatures",
    "ArticulatoryNet",
    "check_encoder",
    "hear_articulation",
]

FEATURES: Final = ("tongue raised", "lips shut")
FEATURE_DIM: Final = 1024
_LAYERS: Final = (2, 4)
_WIDTH: Final = 48
_REACH: Final = 4  # tokens on either side, 80 ms


class ArticulatoryNet(nn.Module):
    """Speech features (B, N, D) -> logits (B, N, K) of the articulatory features at each token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURE_DIM)
        self.linear_in = nn.Linear(FEATURE_DIM, _WIDTH)
        self.convolution = nn.Conv1d(_WIDTH, _WIDTH, 2 * _REACH + 1, padding=_REACH, padding_mode="replicate")
        self.linear_out = nn.Linear(_WIDTH, len(FEATURES))

    def forward(self, features_BND: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.linear_in(self.norm(features_BND)))
        hidden = nn.functional.gelu(self.convolution(hidden.mT)).mT
        logits: Tensor = self.linear_out(hidden)
        return logits


@dataclass(frozen=True, slots=True, eq=False)
class ArticulatoryFeatures:
    """What the articulators do, one value for each frame.

    Attributes:
        tongue_F: how far the tip of the tongue is raised, 0 to 1, as in l, n, d, t, th.
        shut_F: how likely the lips are pressed together, 0 to 1, as in m, b, p.
    """

    tongue_F: Doubles
    shut_F: Doubles

    def frames(self, start: int, stop: int) -> Self:
        """A part of the frames."""
        return type(self)(self.tongue_F[start:stop], self.shut_F[start:stop])


def check_encoder(encoder: SpeechEncoder) -> None:
    """Raises ConfigError unless an encoder gives the features that the network was trained on."""
    fits = (
        isinstance(encoder, WhisperEncoder)
        and encoder.layers == _LAYERS
        and encoder.feature_dim == FEATURE_DIM
        and not encoder.separate_windows
        and not encoder.split_layers
    )
    if not fits:
        raise ConfigError(
            "the tongue cannot be heard with this speech encoder",
            expected=f"states {_LAYERS} of Whisper base",
            fix="Set `tongue` and `lip_pressing` to 0",
        )


@torch.no_grad()
def hear_articulation(speech: SpeechFeatures, num_frames: int, fps: Fraction) -> ArticulatoryFeatures:
    """The articulators in the middle of each frame, from Whisper's features of a whole sound.

    Frames beyond the sound repeat its end.
    """
    values_ND = speech.values.detach().to("cpu", torch.float32)
    features_NK = torch.sigmoid(_network()(values_ND[None])[0]).double().numpy()
    middles_F = (np.arange(num_frames) + 0.5) * float(speech.rate_hz / fps)
    return ArticulatoryFeatures(
        *(np.interp(middles_F, np.arange(len(values_ND)), each) for each in features_NK.T)
    )


@cache
def _network() -> ArticulatoryNet:
    path = Path(str(files("openemo") / "assets" / "articulation.safetensors"))
    return load_network_weights(ArticulatoryNet, path, fix="Install the package again").float().eval()
