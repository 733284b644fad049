"""The small networks that turn sound, face region and head speed into what the layers of the UNet read.

Shape letters: B clips, F frames, T audio tokens of one frame, D raw speech features, A audio_dim, E time
    embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from openemo.errors import ConfigError

__all__ = [
    "SPEED_CENTRES_RAD_S",
    "SPEED_RADII_RAD_S",
    "AudioProjection",
    "AudioTimeEmbedding",
    "Conditions",
    "FaceLocator",
    "GestureEncoder",
    "IdentityProjection",
    "SpeedEncoder",
    "WindowAudioProjection",
    "check_features",
    "fold",
    "modulate",
    "zero_",
]

# Nine buckets over EMO's useful range: 0.1-1.0 for speech, 1.0-1.3 for singing, above 1.5 it jitters.
SPEED_CENTRES_RAD_S = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
SPEED_RADII_RAD_S = (0.2,) * 9

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def zero_(module: ModuleT) -> ModuleT:
    """Set all parameters to zero, so that a new branch leaves a trained network as it was."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def fold(clip_BCFHW: Tensor) -> Tensor:
    """(B, C, F, H, W) -> (B*F, C, H, W), frame fastest, channels_last (convolutions twice as fast on CPU)."""
    return clip_BCFHW.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)


def modulate(normed: Tensor, embedding: Tensor) -> Tensor:
    """Scale and shift (BF, C, H, W) by (BF, 2C), the same at all places; zeros change nothing."""
    scale, shift = embedding[..., None, None].chunk(2, dim=1)
    return normed * (1 + scale) + shift


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every layer of the network hears besides the picture. None switches the layers that read it off.

    Args:
        num_frames: F, the number of frames of one clip that are folded into the batch.
        time_embedding: (BF, E), after its activation.
        text: (BF, L, D_text), whatever reads from SD-1.5's text slot: words, identity or sound.
        audio: (BF, T, A), each frame's own window.
        speed: (B, F, D_speed).
        reference_rows: (BF,), which row of the reference tokens a frame sees; None is that of its clip.
        region_masks: for each level (BF, 3, H, W), in [0, 1], in the order of `REGIONS`.
        region_weights: (3,), how strongly the sound moves each region.
        is_clip: False where the frames do not follow each other: temporal modules do not run.
    """

    num_frames: int
    time_embedding: Tensor
    text: Tensor | None = None
    audio: Tensor | None = None
    speed: Tensor | None = None
    reference_rows: Tensor | None = None
    region_masks: tuple[Tensor, ...] = ()
    region_weights: Tensor | None = None
    is_clip: bool = True


def check_features(audio_BFTD: Tensor, expected: tuple[int, int]) -> None:
    """Raises ConfigError unless there are `expected` tokens per frame, of so many values."""
    if tuple(audio_BFTD.shape[2:]) != expected:
        raise ConfigError(
            "the speech features do not fit the network",
            got=f"{audio_BFTD.shape[2]} tokens of {audio_BFTD.shape[3]} values per frame",
            expected=f"{expected[0]} tokens of {expected[1]} values",
        )


class AudioProjection(nn.Module):
    """Raw speech features of each frame's window to audio tokens (EMO 3.2, audio layers).

    (B, F, T, D) -> (B, F, T, A): LayerNorm, Linear, GELU, Linear, plus a learned embedding of the token's
    place.
    """

    def __init__(self, feature_dim: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(feature_dim)
        self.linear_1 = nn.Linear(feature_dim, dim)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(dim, dim)
        self.position = nn.Parameter(torch.randn(num_tokens, dim) * 0.02)

    def forward(self, audio_BFTD: Tensor) -> Tensor:
        check_features(audio_BFTD, (self.position.shape[0], self.norm.normalized_shape[0]))
        tokens: Tensor = self.linear_2(self.act(self.linear_1(self.norm(audio_BFTD))))
        return tokens + self.position.to(tokens.dtype)


class WindowAudioProjection(nn.Module):
    """A whole window of speech features to audio tokens (Hallo): (B, F, W, D) -> (B, F, T, A).

    Three linear layers with ReLU between them see all of the window; LayerNorm of each token.

    Args:
        window: W, tokens of the window.
        feature_dim: D, e.g. all layers of a speech encoder, one after the other.
        hidden_dim: between the linear layers.
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
        tokens: Tensor = self.norm(torch.unflatten(hidden, 2, (-1, self.norm.normalized_shape[0])))
        return tokens


class IdentityProjection(nn.Module):
    """A face embedding to tokens for the text slot (Hallo): (B, D) -> (B, num_tokens, dim)."""

    def __init__(self, embedding_dim: int, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(embedding_dim, num_tokens * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, embedding_BD: Tensor) -> Tensor:
        tokens: Tensor = self.norm(
            torch.unflatten(self.proj(embedding_BD), 1, (-1, self.norm.normalized_shape[0]))
        )
        return tokens


class AudioTimeEmbedding(nn.Module):
    """A whole window as one vector that joins the frame's timestep embedding: (B, F, T, A) -> (B, F, E).

    Not in the paper: it reaches every ResNet block directly, which makes a small network hear much sooner.
    """

    def __init__(self, num_tokens: int, dim: int, time_embed_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(num_tokens * dim, time_embed_dim)
        self.act = nn.SiLU()
        self.linear_2 = zero_(nn.Linear(time_embed_dim, time_embed_dim))

    def features(self, tokens_BFTA: Tensor) -> Tensor:
        """(B, F, E): what is heard in each window, before the last layer."""
        heard: Tensor = self.act(self.linear_1(tokens_BFTA.flatten(2)))
        return heard

    def forward(self, tokens_BFTA: Tensor) -> Tensor:
        embedding: Tensor = self.linear_2(self.features(tokens_BFTA))
        return embedding


class GestureEncoder(nn.Module):
    """What the person does without the sound to an addition to each frame's timestep embedding.

    (B, F, G) -> (B, F, E): Linear, SiLU, and a zero-initialised Linear.
    """

    def __init__(self, num_gestures: int, embed_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(num_gestures, embed_dim)
        self.act = nn.SiLU()
        self.linear_2 = zero_(nn.Linear(embed_dim, embed_dim))

    def forward(self, gestures_BFG: Tensor) -> Tensor:
        if gestures_BFG.shape[-1] != self.linear_1.in_features:
            raise ConfigError(
                "the gestures do not fit the network",
                got=f"{gestures_BFG.shape[-1]} values per frame",
                expected=str(self.linear_1.in_features),
            )
        embedding: Tensor = self.linear_2(self.act(self.linear_1(gestures_BFG)))
        return embedding


class FaceLocator(nn.Module):
    """Encode the mask of the face region to features of latent size (EMO 3.2, face locator).

    (B, M, H*s, W*s) in [0, 1] -> (B, C, H, W), s = `downscale`, a power of two: one strided convolution per
    halving, then a zero-initialised one. "Added to the noisy latent" (EMO 3.2) is read as: added to its
    first feature map.

    Args:
        in_channels: M.
        channels: if given, the open relatives' layout (that of ControlNet): a convolution at full size to
            the first of `channels`, then for each further one a plain convolution and a strided one.
    """

    def __init__(
        self, out_channels: int, downscale: int, in_channels: int = 1, channels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        halvings = downscale.bit_length() - 1
        if downscale < 2 or downscale != 2**halvings:
            raise ConfigError(
                "the face locator cannot shrink the mask so", got=downscale, expected="a power of two from 2"
            )
        if channels is None:
            widths = [in_channels] + [min(16 * 2**i, 128) for i in range(halvings)]
            strides = [2] * halvings
        else:
            widths = [in_channels, channels[0], *(c for pair in pairwise(channels) for c in pair)]
            strides = [1] + [1, 2] * (len(channels) - 1)
        if strides.count(2) != halvings:
            raise ConfigError(
                "the face locator does not shrink the mask to the latents",
                got=f"channels {tuple(channels or ())}",
                expected=f"{halvings + 1} numbers of channels for {downscale} pixels per cell",
            )
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=stride, padding=1)
            for (before, after), stride in zip(pairwise(widths), strides, strict=True)
        )
        self.act = nn.SiLU()
        self.conv_out = zero_(nn.Conv2d(widths[-1], out_channels, 3, padding=1))

    def forward(self, mask_BMHW: Tensor) -> Tensor:
        hidden = mask_BMHW
        for conv in self.convs:
            hidden = self.act(conv(hidden).contiguous(memory_format=torch.channels_last))
        features: Tensor = self.conv_out(hidden)
        return features


class SpeedEncoder(nn.Module):
    """Head-rotation speed of each frame to speed tokens (EMO 3.2, speed layers): (B, F) rad/s -> (B, F, dim).

    Bucket i with centre c_i and radius r_i answers s_i = tanh((w - c_i) / r_i * 3); a frame sees the
    buckets of the frames from -m to +m (the clip's first and last speeds repeat beyond its ends) through an
    MLP.

    Args:
        centres_rad_s, radii_rad_s: d bucket centres and radii in radians per second, so that they hold at
            any fps.
        window: m, in frames.
        max_frames: length of the position table.
    """

    centres: Tensor
    radii: Tensor

    def __init__(
        self,
        centres_rad_s: Sequence[float],
        radii_rad_s: Sequence[float],
        window: int,
        dim: int,
        max_frames: int,
    ) -> None:
        super().__init__()
        if len(centres_rad_s) != len(radii_rad_s) or min(radii_rad_s) <= 0:
            raise ConfigError(
                "speed buckets need one positive radius per centre",
                got=f"{len(centres_rad_s)} centres, radii {tuple(radii_rad_s)}",
            )
        self.window = window
        self.register_buffer("centres", torch.tensor(tuple(centres_rad_s)))
        self.register_buffer("radii", torch.tensor(tuple(radii_rad_s)))
        self.linear_1 = nn.Linear((2 * window + 1) * len(centres_rad_s), dim)
        self.act = nn.SiLU()
        self.linear_2 = nn.Linear(dim, dim)
        self.pos_encoder = SinusoidalPositionalEmbedding(dim, max_seq_length=max_frames)

    def forward(self, speed_BF: Tensor, first_position: int = 0) -> Tensor:
        """`first_position`: where the clip starts on the temporal axis, i.e. the number of motion frames."""
        num_frames = speed_BF.shape[1]
        buckets_BFd = torch.tanh((speed_BF[..., None] - self.centres) / self.radii * 3)
        buckets_BFd = buckets_BFd.to(self.linear_1.weight.dtype)
        offsets = torch.arange(-self.window, self.window + 1, device=speed_BF.device)
        frames = torch.arange(num_frames, device=speed_BF.device)
        neighbours = (frames[:, None] + offsets).clamp(0, num_frames - 1)
        tokens: Tensor = self.linear_2(self.act(self.linear_1(buckets_BFd[:, neighbours].flatten(2))))
        positions: Tensor = self.pos_encoder.pe[:, first_position : first_position + num_frames]
        return tokens + positions.to(tokens.dtype)
