"""Speech features: the hidden states of Whisper's encoder, 50 per second, for sound of any length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from openemo.audio.loudness import normalise_loudness
from openemo.audio.mel import HOP_SAMPLES, SAMPLE_RATE_HZ, log_mel
from openemo.audio.reading import Audio
from openemo.errors import AudioError, CheckpointError, ConfigError
from openemo.timing import speech_window_start

__all__ = ["SpeechEncoder", "SpeechFeatures"]

_MELS_PER_TOKEN = 2
_TOKEN_SAMPLES = HOP_SAMPLES * _MELS_PER_TOKEN
TOKEN_RATE_HZ = SAMPLE_RATE_HZ // _TOKEN_SAMPLES
WINDOW_TOKENS = 300  # 6 s
_MIN_TOKENS = 150
_OVERLAP = 3  # a third of the window


@dataclass(frozen=True, eq=False)
class SpeechFeatures:
    """Speech tokens of a whole sound.

    Attributes:
        values: (num_tokens, feature_dim); token i is centred on i / rate_hz seconds.
        rate_hz: tokens per second.
    """

    values: Tensor
    rate_hz: int = TOKEN_RATE_HZ

    def windows(self, frames: range | Sequence[int], fps: Fraction, window_tokens: int = 10) -> Tensor:
        """(len(frames), window_tokens, feature_dim): what each frame hears, A(f) of EMO 3.2.

        Zeros stand for positions before the start and after the end of the sound.
        """
        starts = [speech_window_start(frame, fps, self.rate_hz, window_tokens) for frame in frames]
        device = self.values.device
        positions_FT = torch.tensor(starts, dtype=torch.long, device=device)[:, None] + torch.arange(
            window_tokens, device=device
        )
        num_tokens = self.values.shape[0]
        inside_FT = (positions_FT >= 0) & (positions_FT < num_tokens)
        windows_FTD = self.values[positions_FT.clamp(0, num_tokens - 1)]
        return torch.where(inside_FT[..., None], windows_FTD, windows_FTD.new_zeros(()))


class SpeechEncoder:
    """Whisper's encoder, frozen; gives the concatenated hidden states of some of its layers.

    Layer 0 is the embedding, layer i the output of block i; the last one goes through the encoder's final
    layer norm, as in transformers. The sound's loudness is normalised first.

    The states carry the absolute position in the window strongly: a linear read-out fitted on 3 s clips has
    seven times the error at the end of a 30 s window. So the windows are short, and a token of a long sound
    looks like a token of a short one.

    Args:
        layers: hidden states to take.
        window_tokens: what the encoder sees at once, up to its own 1500 (30 s).
    """

    def __init__(
        self, encoder: WhisperEncoder, *, layers: Sequence[int] = (3, 6), window_tokens: int = WINDOW_TOKENS
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
        self.rate_hz = TOKEN_RATE_HZ

    @property
    def feature_dim(self) -> int:
        return int(self.encoder.config.d_model) * len(self.layers)

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._weight.dtype

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.encoder.conv1.weight
        return weight

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SpeechEncoder:
        """Moves the weights in place and returns the encoder itself."""
        self.encoder.to(device=device, dtype=dtype)
        return self

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        layers: Sequence[int] = (3, 6),
        window_tokens: int = WINDOW_TOKENS,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> SpeechEncoder:
        """Loads config.json and model.safetensors strictly.

        Raises:
            CheckpointError: a file is missing or damaged, or the weights don't fit the config.
        """
        folder = Path(folder)
        try:
            config = WhisperConfig(**json.loads((folder / "config.json").read_text()))
            weights = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"the speech encoder in {folder} cannot be read", got=error) from error
        with torch.device("meta"):
            encoder = WhisperEncoder(config)
        try:
            encoder.load_state_dict(weights, strict=True, assign=True)
        except RuntimeError as error:
            raise CheckpointError(f"the weights in {folder} don't fit config.json", got=error) from error
        return cls(encoder, layers=layers, window_tokens=window_tokens).to(device, dtype)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors (in the present dtype) for `from_pretrained`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = self.encoder.config.to_diff_dict()
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
        weights = {name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    @torch.no_grad()
    def __call__(self, audio: Audio) -> SpeechFeatures:
        """Features of the whole sound: (ceil(duration * 50), feature_dim), at the encoder's device and dtype.

        Sound longer than a window is heard through windows that overlap by a third or more and are blended
        there, least at their edges: each token has context on both sides and no joint shows. Sound under
        3 s is padded with silence. Only the result grows with the length.

        Raises:
            AudioError: no samples.
        """
        if audio.num_samples == 0:
            raise AudioError("there is no sound", got="0 samples")
        samples = audio.mono().resample(SAMPLE_RATE_HZ).samples[0]
        samples = normalise_loudness(samples, SAMPLE_RATE_HZ)
        num_tokens = max(1, -(-samples.size // _TOKEN_SAMPLES))
        padded_tokens = max(num_tokens, min(_MIN_TOKENS, self.window_tokens))
        padding = padded_tokens * _TOKEN_SAMPLES - samples.size
        mel_MT = log_mel(np.pad(samples, (0, padding)), self.encoder.config.num_mel_bins)

        window_tokens = min(self.window_tokens, padded_tokens)
        values_ND = torch.zeros(padded_tokens, self.feature_dim, device=self.device)
        weights_N1 = torch.zeros(padded_tokens, 1, device=self.device)
        fade_T1 = _fade(window_tokens, self.device)
        for start in _window_starts(padded_tokens, window_tokens):
            stop = start + window_tokens
            window = mel_MT[:, start * _MELS_PER_TOKEN : stop * _MELS_PER_TOKEN]
            values_ND[start:stop] += fade_T1 * self._encode_window(window)
            weights_N1[start:stop] += fade_T1
        values_ND /= weights_N1
        return SpeechFeatures(values_ND[:num_tokens].to(self.dtype), self.rate_hz)

    def _encode_window(self, mel_MT: Tensor) -> Tensor:
        """(num_mel_bins, 2 T) to (T, feature_dim) float32.

        The same as `WhisperEncoder.forward`, which takes nothing but 30 s.
        """
        encoder = self.encoder
        hidden = functional.gelu(encoder.conv1(mel_MT[None].to(self.device, self.dtype)))
        hidden_BTC = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden_BTC = hidden_BTC + encoder.embed_positions.weight[: hidden_BTC.shape[1]]
        states = [hidden_BTC]
        for block in encoder.layers[: max(self.layers)]:
            states.append(block(states[-1], None))
        if len(states) == len(encoder.layers) + 1:
            states[-1] = encoder.layer_norm(states[-1])
        return torch.cat([states[layer][0] for layer in self.layers], dim=-1).float()


def _window_starts(num_tokens: int, window_tokens: int) -> Iterator[int]:
    """Starts of windows that cover the sound; the last one ends with it."""
    step = window_tokens - window_tokens // _OVERLAP
    yield from range(0, num_tokens - window_tokens, step)
    yield num_tokens - window_tokens


def _fade(window_tokens: int, device: torch.device) -> Tensor:
    """(window_tokens, 1) weights: rising over the overlap, 1 in the middle, falling over the overlap."""
    order = torch.arange(window_tokens, device=device)
    distance = torch.minimum(order, window_tokens - 1 - order) + 1
    return (distance / max(1, window_tokens // _OVERLAP)).clamp(max=1.0)[:, None]
