"""Stable Diffusion's image autoencoder in the role that the pipeline asks of an autoencoder.

A frame's latent is the frame itself, coded by itself: unlike `MotionAutoencoder` nothing here refers to the
portrait. Files and keys are those of diffusers' AutoencoderKL; encoder and decoder are diffusers' own.

Shapes: B batch, C channels, F frames, S picture side, H = W = S / 8 latent side (SD-1.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from diffusers.models.autoencoders.vae import Decoder, DiagonalGaussianDistribution, Encoder
from numpy.typing import NDArray
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.autoencoder import MAX_SAMPLE_PX, Autoencoder, Engine, torch_engine
from openemo.network_settings import register_to_config
from openemo.rendering.portrait_layers import PortraitPicture

__all__ = ["SD15_SCALING_FACTOR", "ImageAutoencoder", "ImageReference"]

SD15_SCALING_FACTOR: Final = 0.18215
"""One over the spread of SD-1.5's raw latents (Rombach et al. 2022); files without a config.json mean it."""


@dataclass(frozen=True, slots=True)
class ImageReference:
    """A portrait as `ImageAutoencoder` has read it: its latents."""

    features_BCHW: Tensor


class ImageAutoencoder(Autoencoder[ImageReference]):
    """Pictures <-> latents of about unit spread, each picture alone.

    Args:
        in_channels, out_channels, down_block_types, up_block_types, block_out_channels, layers_per_block,
            act_fn, latent_channels, norm_num_groups, mid_block_add_attention: as in diffusers' AutoencoderKL.
        sample_size: side of the pictures that it was trained on, px; others work too.
        scaling_factor: raw latents are multiplied by it.
        force_upcast: kept for diffusers; nothing here depends on it.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: Sequence[str] = ("DownEncoderBlock2D",) * 4,
        up_block_types: Sequence[str] = ("UpDecoderBlock2D",) * 4,
        block_out_channels: Sequence[int] = (128, 256, 512, 512),
        layers_per_block: int = 2,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        sample_size: int = 512,
        scaling_factor: float = SD15_SCALING_FACTOR,
        force_upcast: bool = True,
        mid_block_add_attention: bool = True,
    ) -> None:
        super().__init__()
        if not 0 < sample_size <= MAX_SAMPLE_PX or not scaling_factor > 0:
            raise ConfigError(
                "the settings of the autoencoder are out of range",
                got=f"sample_size {sample_size}, scaling_factor {scaling_factor}",
                expected=f"1 to {MAX_SAMPLE_PX} px, and a factor above zero",
            )
        shape: dict[str, Any] = dict(
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            act_fn=act_fn,
            norm_num_groups=norm_num_groups,
            mid_block_add_attention=mid_block_add_attention,
        )
        self.encoder = Encoder(
            in_channels=in_channels,
            out_channels=latent_channels,
            down_block_types=tuple(down_block_types),
            double_z=True,
            **shape,
        )
        self.decoder = Decoder(
            in_channels=latent_channels,
            out_channels=out_channels,
            up_block_types=tuple(up_block_types),
            **shape,
        )
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    @property
    def latent_channels(self) -> int:
        return int(self.config.latent_channels)

    @property
    def stride(self) -> int:
        """Pixels per latent cell."""
        return int(2 ** (len(self.config.block_out_channels) - 1))

    @property
    def moves_portrait(self) -> bool:
        return False

    def posterior(self, pictures_B3SS: Tensor) -> DiagonalGaussianDistribution:
        """diffusers' diagonal Gaussian over raw latents (log-variance held within -30 to 20).

        Args:
            pictures_B3SS: in [-1, 1], sides multiples of the stride.
        """
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(pictures_B3SS)))

    def encode(self, pictures_B3SS: Tensor) -> Tensor:
        """Scaled posterior mean (B, C, H, W)."""
        latents: Tensor = self.posterior(pictures_B3SS).mode() * self.config.scaling_factor
        return latents

    def encode_reference(self, image_B3SS: Tensor, picture: PortraitPicture | None = None) -> ImageReference:
        """Latents of the image; the picture as it is shown is not needed."""
        return ImageReference(self.encode(image_B3SS))

    def encode_frames(self, frames_B3FSS: Tensor) -> Tensor:
        """Latents (B, C, F, H, W) of frames in [-1, 1], one frame at a time to bound the memory."""
        return torch.stack([self.encode(frame_B3SS) for frame_B3SS in frames_B3FSS.unbind(2)], dim=2)

    def still_latents(self, features_BCHW: Tensor, num_frames: int) -> Tensor:
        """The reference's own latents, repeated."""
        return features_BCHW[:, :, None].expand(-1, -1, num_frames, -1, -1)

    def reference_input(self, features_BCHW: Tensor, motion_BCNHW: Tensor | None) -> Tensor:
        """(B, C, 1 + N, H, W): the reference first, then the motion frames."""
        reference = features_BCHW[:, :, None]
        if motion_BCNHW is None:
            return reference
        return torch.cat([reference, motion_BCNHW.to(reference.dtype)], 2)

    def decode(
        self,
        latents_BCFHW: Tensor,
        reference: ImageReference | None = None,
        *,
        gaze_F2: NDArray[np.floating] | None = None,
        eyes_closed_F2: NDArray[np.floating] | None = None,
        expression_FE: NDArray[np.floating] | None = None,
        tongue_F: NDArray[np.floating] | None = None,
        pressed_F: NDArray[np.floating] | None = None,
        engine: Engine = torch_engine,
    ) -> Tensor:
        """Frames (B, 3, F, 8 H, 8 W) in [-1, 1]; nothing of the reference is needed.

        Raises:
            ConfigError: one of the tracks is not zero: a network that draws each frame takes none by rule.
        """
        tracks = (gaze_F2, eyes_closed_F2, expression_FE, tongue_F, pressed_F)
        if any(track is not None and track.any() for track in tracks):
            raise ConfigError(
                "this autoencoder cannot move eyes, tongue or lips by rule, or draw folds",
                fix="Leave gaze, blinks, expression, tongue and pressed lips out",
            )
        raw = latents_BCFHW.transpose(1, 2).flatten(0, 1) / self.config.scaling_factor
        frames: Tensor = engine(self.decoder)(self.post_quant_conv(raw)).clamp(-1, 1)
        return torch.unflatten(frames, 0, (len(latents_BCFHW), -1)).transpose(1, 2)

    def reencode(self, latents_BCNHW: Tensor, reference: ImageReference) -> Tensor:
        """Decodes frame by frame, and encodes the frames again (Hallo)."""
        frames_B3NSS = torch.cat([self.decode(part) for part in torch.split(latents_BCNHW, 1, 2)], 2)
        return self.encode_frames(frames_B3NSS)
