"""Speech features from the hidden states of Whisper's encoder, 50 per second, for audio of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from openemo.audio.audio_reader import Audio
from openemo.audio.loudness import normalise_loudness
from openemo.audio.mel import HOP_SAMPLES, SAMPLE_RATE_HZ, log_mel
from openemo.audio.speech_features import SpeechFeatures
from openemo.audio.speech_networks import PretrainedSpeechEncoder
from openemo.audio.whisper_network import WhisperConfig, WhisperNetwork
from openemo.errors import AudioError, ConfigError
from openemo.timing import Anchor

__all__ = ["WhisperEncoder"]

_MELS_PER_TOKEN = 2
_TOKEN_SAMPLES = HOP_SAMPLES * _MELS_PER_TOKEN
TOKEN_RATE_HZ = SAMPLE_RATE_HZ // _TOKEN_SAMPLES
WINDOW_TOKENS = 300  # 6 s
_MIN_TOKENS = 150
_OVERLAP = 3  # a third of the window


class WhisperEncoder(PretrainedSpeechEncoder):
    """A frozen Whisper encoder. Its features are the concatenated hidden states of some of its layers.

    Layer 0 is the embedding, layer i the output of block i. The last layer goes through the encoder's final
    layer norm. The loudness of the audio is normalised first.

    The states depend strongly on the absolute position in the window: a linear read-out fitted on 3 s clips
    has seven times the error at the end of a 30 s window. So the windows are short, and tokens of long and
    short audio look alike. The options after `window_tokens` are for networks that use Whisper's features in
    another way (EchoMimic).

    Args:
        layers: hidden states to use. The lower ones tell more about facial motion, also for speakers and
            rooms that differ from the training data.
        window_tokens: length of one window in tokens, at most the encoder's 1500 (30 s).
        separate_windows: use windows one after the other, as Whisper does for transcription; the spectrogram
            of the last one is padded with zeros. Otherwise windows overlap, and silence follows the audio.
        final_norm: apply the encoder's final layer norm to its last hidden state.
        normalise: normalise the loudness of the audio first.
        split_layers: make each layer's state a token of its own, in (position, layer) row-major order.
        anchor: see `SpeechFeatures`.
    """

    network_class = WhisperNetwork
    config_class = WhisperConfig

    def __init__(
        self,
        encoder: WhisperNetwork,
        *,
        layers: Sequence[int] = (2, 4),
        window_tokens: int = WINDOW_TOKENS,
        separate_windows: bool = False,
        final_norm: bool = True,
        normalise: bool = True,
        split_layers: bool = False,
        anchor: Anchor = "middle",
    ) -> None:
        config = encoder.config
        if not layers or min(layers) < 0 or max(layers) > config.encoder_layers:
            expected = f"one or more of 0 to {config.encoder_layers}"
            raise ConfigError("the speech encoder lacks these layers", got=tuple(layers), expected=expected)
        if not 2 <= window_tokens <= config.max_source_positions:
            expected = f"2 to {config.max_source_positions} tokens"
            raise ConfigError("the speech window has a wrong length", got=window_tokens, expected=expected)
        self.encoder = encoder.train(False).requires_grad_(False)
        self.layers = tuple(layers)
        self.window_tokens = window_tokens
        self.separate_windows = separate_windows
        self.final_norm = final_norm
        self.normalise = normalise
        self.split_layers = split_layers
        self.anchor: Anchor = anchor
        self.rate_hz = TOKEN_RATE_HZ

    def options(self) -> dict[str, Any]:
        """The keyword arguments that make this encoder from its network."""
        return {
            "layers": self.layers,
            "window_tokens": self.window_tokens,
            "separate_windows": self.separate_windows,
            "final_norm": self.final_norm,
            "normalise": self.normalise,
            "split_layers": self.split_layers,
            "anchor": self.anchor,
        }

    @property
    def feature_dim(self) -> int:
        return int(self.encoder.config.d_model) * len(self.layers)

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.encoder.conv1.weight
        return weight

    @torch.no_grad()
    def __call__(self, audio: Audio) -> SpeechFeatures:
        """Features of the whole audio: (ceil(duration * 50), feature_dim), at the encoder's device and dtype.

        Audio longer than a window is encoded in windows that overlap by a third or more. They are blended
        with weights that fall towards the edges, so each token has context on both sides and no joint is
        visible. Audio under 3 s is padded with silence. Only the result grows with the length. With
        `separate_windows` there are floor(duration * 50) tokens.

        Raises:
            AudioError: no samples.
        """
        if audio.num_samples == 0:
            raise AudioError("there is no sound", got="0 samples")
        samples = audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
        if self.normalise:
            samples = normalise_loudness(samples, SAMPLE_RATE_HZ)
        values_ND = self._separate(samples) if self.separate_windows else self._blended(samples)
        return SpeechFeatures(
            values_ND.to(self.dtype),
            self.rate_hz,
            anchor=self.anchor,
            tokens_per_row=len(self.layers) if self.split_layers else 1,
        )

    def encode(self, audio: Audio, *, fps: Fraction, clip_frames: int) -> SpeechFeatures:
        """See `SpeechEncoder`. Whisper's features do not depend on the frame rate or the clip length."""
        return self(audio)

    @torch.no_grad()
    def encode_part(self, samples: npt.NDArray[np.float32], *, loudest: float) -> SpeechFeatures:
        """Features of a part of a sound, in one window: the last tokens lack what comes after them.

        Args:
            samples: (num_samples,) mono at 16 kHz, at the loudness of `normalise_loudness`, at most as long
                as a window.
            loudest: of the whole sound, see `log_mel`.
        """
        mel_MT = log_mel(samples, self.encoder.config.num_mel_bins, loudest=loudest)
        mel_MT = mel_MT[:, : mel_MT.shape[1] // _MELS_PER_TOKEN * _MELS_PER_TOKEN]
        values_ND = self._encode_window(mel_MT).to(self.dtype)
        return SpeechFeatures(values_ND, self.rate_hz, anchor=self.anchor)

    def _blended(self, samples: npt.NDArray[np.float32]) -> Tensor:
        """(ceil(duration * 50), feature_dim) float32 from overlapping windows."""
        num_tokens = max(1, -(-samples.size // _TOKEN_SAMPLES))
        padded_tokens = max(num_tokens, min(_MIN_TOKENS, self.window_tokens))
        padding = padded_tokens * _TOKEN_SAMPLES - samples.size
        mel_MT = log_mel(np.pad(samples, (0, padding)), self.encoder.config.num_mel_bins)

        window_tokens = min(self.window_tokens, padded_tokens)
        fade_T1 = _fade(window_tokens, self.device)
        values_ND = fade_T1.new_zeros(padded_tokens, self.feature_dim)
        weights_N1 = fade_T1.new_zeros(padded_tokens, 1)
        for start in _window_starts(padded_tokens, window_tokens):
            stop = start + window_tokens
            window = mel_MT[:, start * _MELS_PER_TOKEN : stop * _MELS_PER_TOKEN]
            values_ND[start:stop] += fade_T1 * self._encode_window(window)
            weights_N1[start:stop] += fade_T1
        values_ND /= weights_N1
        return values_ND[:num_tokens]

    def _separate(self, samples: npt.NDArray[np.float32]) -> Tensor:
        """(floor(duration * 50), feature_dim) float32 from windows one after the other."""
        # Silence fills up the first token, so that no audio is too short.
        padding = max(0, _TOKEN_SAMPLES - samples.size)
        mel_MT = log_mel(np.pad(samples, (0, padding)), self.encoder.config.num_mel_bins)
        window_mels = self.window_tokens * _MELS_PER_TOKEN
        parts = []
        for window in torch.split(mel_MT, window_mels, dim=1):
            filled = functional.pad(window, (0, window_mels - window.shape[1]))
            parts.append(self._encode_window(filled)[: window.shape[1] // _MELS_PER_TOKEN])
        return torch.cat(parts)

    def _encode_window(self, mel_MT: Tensor) -> Tensor:
        """(num_mel_bins, 2 T) to (T, feature_dim) float32."""
        encoder = self.encoder
        states = [encoder.embed(mel_MT[None].to(self.device, self.dtype))]
        for layer in encoder.layers[: max(self.layers)]:
            states.append(layer(states[-1]))
        if self.final_norm and len(states) == len(encoder.layers) + 1:
            states[-1] = encoder.layer_norm(states[-1])
        return torch.cat([states[layer][0] for layer in self.layers], dim=-1).float()


def _window_starts(num_tokens: int, window_tokens: int) -> Iterator[int]:
    """Starts of windows that cover all tokens; the last window ends with the last token."""
    step = window_tokens - window_tokens // _OVERLAP
    yield from range(0, num_tokens - window_tokens, step)
    yield num_tokens - window_tokens


def _fade(window_tokens: int, device: torch.device) -> Tensor:
    """(window_tokens, 1) float32 weights: rising over the overlap, 1 in the middle, falling at the end."""
    order = torch.arange(window_tokens, device=device, dtype=torch.float32)
    distance = torch.minimum(order, window_tokens - 1 - order) + 1
    return (distance / max(1, window_tokens // _OVERLAP)).clamp(max=1.0)[:, None]
