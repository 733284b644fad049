"""Speech features from wav2vec 2.0's hidden states, one row per frame (EMO 3.2; resampled as in Hallo)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

from openemo.audio.audio_reader import Audio
from openemo.audio.mel import SAMPLE_RATE_HZ
from openemo.audio.speech_features import SpeechFeatures
from openemo.audio.speech_networks import PretrainedSpeechEncoder
from openemo.errors import AudioError, ConfigError
from openemo.timing import covering_frames

__all__ = ["Wav2VecEncoder"]

_VARIANCE_FLOOR = 1e-7  # of transformers' feature extractor


class Wav2VecEncoder(PretrainedSpeechEncoder):
    """A frozen wav2vec 2.0. Its features are the concatenated hidden states of some of its layers.

    Layer 0 is the transformer's input, layer i the output of block i. The last layer goes through the final
    layer norm where the network has one. The output of the convolutions is interpolated linearly to the
    number of frames (corners aligned) before the transformer. The transformer gets the whole audio at once,
    as in training, so memory grows with the length.

    Args:
        layers: hidden states to use; None uses all but the input, as EMO and Hallo do.
        normalise: scale the whole waveform to mean 0 and variance 1 first.
    """

    network_class = Wav2Vec2Model
    config_class = Wav2Vec2Config

    def __init__(
        self, encoder: Wav2Vec2Model, *, layers: Sequence[int] | None = None, normalise: bool = True
    ) -> None:
        num_layers = int(encoder.config.num_hidden_layers)
        chosen = tuple(range(1, num_layers + 1)) if layers is None else tuple(layers)
        if not chosen or min(chosen) < 0 or max(chosen) > num_layers:
            raise ConfigError(
                "the speech encoder lacks these layers",
                got=chosen,
                expected=f"one or more of 0 to {num_layers}",
            )
        self.encoder = encoder.train(False).requires_grad_(False)
        self.layers = chosen
        self.normalise = normalise

    @property
    def feature_dim(self) -> int:
        return int(self.encoder.config.hidden_size) * len(self.layers)

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.encoder.feature_projection.projection.weight
        return weight

    def options(self) -> dict[str, Any]:
        """The keyword arguments that make this encoder from its network."""
        return {"layers": self.layers, "normalise": self.normalise}

    def encode(self, audio: Audio, *, fps: Fraction, clip_frames: int) -> SpeechFeatures:
        """See `SpeechEncoder`: (frames, feature_dim), one row per video frame.

        Silence pads the audio to a whole number of clips. Frames are counted as in `covering_frames`.

        Raises:
            AudioError: no samples, or fewer than the convolutions need for one value (25 ms).
        """
        samples = audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
        frames = covering_frames(samples.size, SAMPLE_RATE_HZ, fps)
        missing = -frames % clip_frames
        padding = missing * math.floor(SAMPLE_RATE_HZ / fps)
        waveform = np.pad(self.normalised(samples), (0, padding))
        values_FLD = self.states(waveform, frames + missing)
        return SpeechFeatures(values_FLD.flatten(1), fps)

    def normalised(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The waveform (num_samples,) with mean 0 and variance 1; unchanged without `normalise`.

        In float32 and in the order of operations of transformers' feature extractor.
        """
        if not self.normalise or not samples.size:
            return samples
        return np.asarray((samples - samples.mean()) / np.sqrt(samples.var() + _VARIANCE_FLOOR), np.float32)

    @torch.no_grad()
    def states(self, waveform: npt.NDArray[np.float32], num_frames: int) -> Tensor:
        """(num_frames, layers, width) hidden states of a prepared waveform at 16 kHz. Raises AudioError."""
        needed = self._receptive_samples()
        if waveform.size < needed:
            raise AudioError(
                "the sound is too short for the speech encoder",
                got=f"{1000 * waveform.size / SAMPLE_RATE_HZ:.1f} ms",
                expected=f"{1000 * needed / SAMPLE_RATE_HZ:.1f} ms or more",
            )
        samples_BN = torch.from_numpy(waveform)[None].to(self.device, self.dtype)
        local_BCT = self.encoder.feature_extractor(samples_BN)
        local_BCF = functional.interpolate(local_BCT, size=num_frames, mode="linear", align_corners=True)
        hidden_BFD, _ = self.encoder.feature_projection(local_BCF.transpose(1, 2))
        return torch.stack([state[0] for state in self._transform(hidden_BFD)], dim=1)

    def _transform(self, hidden_BFD: Tensor) -> list[Tensor]:
        """The chosen hidden states. transformers itself returns them only from the whole network."""
        encoder = self.encoder.encoder
        norm_last = bool(self.encoder.config.do_stable_layer_norm)
        hidden_BFD = hidden_BFD + encoder.pos_conv_embed(hidden_BFD)
        states = [hidden_BFD if norm_last else encoder.layer_norm(hidden_BFD)]
        for layer in encoder.layers[: max(self.layers)]:
            states.append(layer(states[-1], attention_mask=None))
        if norm_last and len(states) == len(encoder.layers) + 1:
            states[-1] = encoder.layer_norm(states[-1])
        return [states[layer] for layer in self.layers]

    def _receptive_samples(self) -> int:
        """Samples that one output of the convolutions covers: 400 (25 ms) in the published networks."""
        config, needed = self.encoder.config, 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            needed = (needed - 1) * stride + kernel
        return int(needed)
