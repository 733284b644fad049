"""A small audio-visual synchronisation network: one embedding space for mouth crops and speech.

The objective is SyncNet's (Chung and Zisserman, "Out of time: automated lip sync in the wild", 2016): windows
of five frames at 25 fps against the audio of the same 0.2 s. Both streams are convolutions over a whole clip,
so that neighbouring windows share their computation. A window still depends on its own five frames only.

Shapes: B clips, F frames, W = F - 4 windows, D embedding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.network import Network
from openemo.network_settings import register_to_config

__all__ = ["MEL_BINS", "ROWS_PER_FRAME", "SYNC_FPS", "WINDOW_FRAMES", "SyncEmbedder", "rows_of_frames"]

SYNC_FPS = 25
WINDOW_FRAMES = 5
ROWS_PER_FRAME = 4  # log-mel rows at 100 Hz
MEL_BINS = 80
_STRIDE = 16


def rows_of_frames(num_frames: int) -> int:
    """Number of log-mel rows from the start of the first frame to the end of the last."""
    return ROWS_PER_FRAME * num_frames + 1


class _Conv(nn.Module):
    """Convolution, GroupNorm, SiLU. Without running statistics, an EMA of the weights is a valid network."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 8,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding)
        self.norm = nn.GroupNorm(groups, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(cast(Tensor, self.norm(self.conv(x))))


class _PerRowConv(nn.Module):
    """Convolution over mel bins and time, LayerNorm at each position: a window reads its own rows only."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, time_stride: int) -> None:
        super().__init__()
        padding = (kernel // 2, 0)
        self.conv = nn.Conv2d(channels_in, channels_out, (kernel, 3), (2, time_stride), padding)
        self.norm = nn.LayerNorm(channels_out)

    def forward(self, x_BCMT: Tensor) -> Tensor:
        y = cast(Tensor, self.conv(x_BCMT)).permute(0, 2, 3, 1)
        return F.silu(cast(Tensor, self.norm(y))).permute(0, 3, 1, 2)


class SyncEmbedder(Network):
    """Embeds mouth crops and log-mel rows as unit vectors, one for each window of five frames.

    Args:
        height, width: of the grey mouth crops, px; multiples of 16.
        picture_channels: widths at strides 4, 8 and 16.
        audio_channels: widths of the four layers over the log-mel rows.
        frame_dim: width of the features of one frame.
        hidden_dim, embedding_dim: widths of the last layers.
    """

    @register_to_config
    def __init__(
        self,
        height: int = 48,
        width: int = 64,
        picture_channels: tuple[int, int, int] = (32, 64, 96),
        audio_channels: tuple[int, int, int, int] = (24, 32, 48, 64),
        frame_dim: int = 128,
        hidden_dim: int = 256,
        embedding_dim: int = 128,
    ) -> None:
        super().__init__()
        if height % _STRIDE or width % _STRIDE:
            raise ConfigError(
                "the mouth crops' sides must be multiples of 16", got=f"{height}x{width}", fix="Use 48x64"
            )
        c1, c2, c3 = picture_channels
        self.picture_1 = _Conv(1, c1, 7, stride=4, padding=3)
        self.picture_2 = _Conv(c1, c2, 3, stride=2, padding=1)
        self.picture_mix = _Conv(c2, c2, 3, padding=1)
        self.picture_3 = _Conv(c2, c3, 3, stride=2, padding=1)
        self.picture_frame = nn.Linear(c3 * (height // _STRIDE) * (width // _STRIDE), frame_dim)
        self.picture_norm = nn.LayerNorm(frame_dim)
        self.picture_window = nn.Linear(frame_dim * WINDOW_FRAMES, hidden_dim)
        self.picture_hidden = nn.Linear(hidden_dim, hidden_dim)
        self.picture_out = nn.Linear(hidden_dim, embedding_dim)

        a1, a2, a3, a4 = audio_channels
        self.audio_1 = _PerRowConv(1, a1, 5, time_stride=1)
        self.audio_2 = _PerRowConv(a1, a2, 3, time_stride=2)
        self.audio_3 = _PerRowConv(a2, a3, 3, time_stride=1)
        self.audio_4 = _PerRowConv(a3, a4, 3, time_stride=2)
        # Receptive fields: 3, 5, 9 and 13 rows. Three positions, four rows apart, cover the 21 of a window.
        self.audio_window = nn.Linear(a4 * (MEL_BINS // 16) * 3, hidden_dim)
        self.audio_hidden = nn.Linear(hidden_dim, hidden_dim)
        self.audio_out = nn.Linear(hidden_dim, embedding_dim)
        # The learned scale of the contrastive loss (Radford et al., CLIP, 2021).
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def embed_pictures(self, crops_BFHW: Tensor) -> Tensor:
        """(B, W, D) unit vectors of mouth crops, grey, uint8 or float in [0, 255]."""
        batch, num_frames = crops_BFHW.shape[:2]
        self._check_frames(num_frames)
        x = crops_BFHW.flatten(0, 1)[:, None].to(self.picture_out.weight.dtype) / 127.5 - 1
        x = self.picture_2(self.picture_1(x))
        x = self.picture_3(x + self.picture_mix(x))
        frames = F.silu(self.picture_norm(self.picture_frame(x.flatten(1))))
        frames = torch.unflatten(frames, 0, (batch, num_frames))
        windows = frames.unfold(1, WINDOW_FRAMES, 1).flatten(2)
        hidden = F.silu(self.picture_window(windows))
        hidden = hidden + F.silu(self.picture_hidden(hidden))
        return F.normalize(self.picture_out(hidden).float(), dim=-1)

    def embed_sound(self, rows_BTM: Tensor) -> Tensor:
        """(B, W, D) unit vectors of `rows_of_frames(F)` rows of `relative_log_mel`."""
        num_frames, left = divmod(rows_BTM.shape[1] - 1, ROWS_PER_FRAME)
        if left or rows_BTM.shape[2] != MEL_BINS:
            raise ConfigError(
                "the log-mel rows do not cover whole frames",
                got=f"shape {tuple(rows_BTM.shape[1:])}",
                expected=f"(4 x frames + 1, {MEL_BINS})",
            )
        self._check_frames(num_frames)
        x = rows_BTM.to(self.audio_out.weight.dtype).transpose(1, 2)[:, None]
        x = self.audio_4(self.audio_3(self.audio_2(self.audio_1(x))))
        windows = x.permute(0, 3, 1, 2).flatten(2).unfold(1, 3, 1).flatten(2)
        hidden = F.silu(self.audio_window(windows))
        hidden = hidden + F.silu(self.audio_hidden(hidden))
        return F.normalize(self.audio_out(hidden).float(), dim=-1)

    def forward(self, crops_BFHW: Tensor, rows_BTM: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of crops and of audio, (B, W, D) each."""
        return self.embed_pictures(crops_BFHW), self.embed_sound(rows_BTM)

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward

    @staticmethod
    def _check_frames(num_frames: int) -> None:
        if num_frames < WINDOW_FRAMES:
            raise ConfigError(
                "too few frames for a window", got=num_frames, expected=f"{WINDOW_FRAMES} or more"
            )
