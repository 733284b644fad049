"""Motion-compensated autoencoder: the latent of a frame is how it moved from the reference picture.

A frame is coded as a small backward flow field: where each place of the frame comes from in the reference.
The decoder moves the reference, shows the inside of the mouth where the flow tears it open, and adds what
else no warp can show (shadows, edges of lips, lashes), told by flow and reference; so identity, background
and sharpness come from the photo itself, at any resolution of the photo. At rest the latent is
zero. This is the principle of neural video codecs and of latent flow diffusion (Ni et al., LFDM, CVPR 2023);
to the diffusion network the flow is an ordinary latent. A codec's residual code was tried and given up: a
denoiser's code is the mean of what may be there, and mouths looked better without it (`docs/log.md`).

Shapes: B batch, C channels, F frames, S picture side, H = W = S / 16 latent side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.flow import FLOW_STRIDES, STRIDE, pack_flow, unpack_flow, warp
from openemo.models.inside import TEETH_SIZE, MouthInside
from openemo.models.lips import LipMotion
from openemo.models.motion_decoder import PIXEL_STRIDE, MotionDecoder, ReferencePyramid, ResBlock
from openemo.models.tone import to_tone_of

__all__ = ["MotionAutoencoder"]

# Part of the crop at each side in which only the warp shows: hair, shoulders, background.
_MARGIN = 1 / 8


class MotionAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Frames <-> flow relative to a reference picture.

    Latents have 8 or 32 channels (two components at twice or four times the latent grid, see `pack_flow`),
    scaled to about unit spread.

    Args:
        sample_size: side of the square crop that the networks see, px; a multiple of 16.
        fine_channels, middle_channels, reference_channels: widths of the reference's encoder at strides 4, 8
            and 16.
        reference_norm: "place" normalises each place of the reference's features by itself, so that a window
            gives what the whole crop gives, and training on windows is enough; "map" the whole map.
        decoder_channels, decoder_blocks: see `MotionDecoder`.
        flow_stride: pixels per cell of the flow, 8 or 4. An eyelid moves by less than 8.
        flow_scale: displacement, in units of the crop's side, that counts as 1 in the latents.

    Attributes:
        teeth: (4, *TEETH_SIZE), for portraits that hide theirs: colour over the face's light, and opacity
            (`openemo.data.teeth`); zeros are none.
    """

    teeth: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 256,
        fine_channels: int = 24,
        middle_channels: int = 64,
        reference_channels: int = 64,
        reference_norm: Literal["map", "place"] = "map",
        decoder_channels: Sequence[int] = (32, 96, 128),
        decoder_blocks: int = 2,
        flow_stride: int = 4,
        flow_scale: float = 0.005,
    ) -> None:
        super().__init__()
        if sample_size % STRIDE:
            raise ConfigError(
                "`sample_size` of the autoencoder must be a multiple of 16",
                got=sample_size,
                fix=f"Use {sample_size // STRIDE * STRIDE or STRIDE}",
            )
        if flow_stride not in FLOW_STRIDES:
            raise ConfigError(
                "`flow_stride` of the autoencoder is not one of those it can pack",
                got=flow_stride,
                expected=" or ".join(map(str, FLOW_STRIDES)),
            )
        if reference_norm not in ("map", "place"):
            raise ConfigError(
                "`reference_norm` of the autoencoder is unknown", got=reference_norm, expected="map or place"
            )
        pixels = 3 * PIXEL_STRIDE**2
        fine, middle, coarse = fine_channels, middle_channels, reference_channels
        is_local = reference_norm == "place"

        self.reference_in = nn.Conv2d(pixels, fine, 3, padding=1)
        self.reference_fine = ResBlock(fine, local=is_local)
        self.reference_down1 = nn.Conv2d(fine, middle, 3, stride=2, padding=1)
        self.reference_middle = ResBlock(middle, local=is_local)
        self.reference_down2 = nn.Conv2d(middle, coarse, 3, stride=2, padding=1)
        self.reference_coarse = ResBlock(coarse, local=is_local)

        self.decoder = MotionDecoder(
            (fine, middle, coarse),
            channels=decoder_channels,
            blocks=decoder_blocks,
            flow_stride=flow_stride,
        )
        self.register_buffer("teeth", torch.zeros(4, *TEETH_SIZE))

    @property
    def latent_channels(self) -> int:
        return 2 * (STRIDE // int(self.config.flow_stride)) ** 2

    @property
    def stride(self) -> int:
        """Pixels per latent cell."""
        return STRIDE

    @property
    def flow_size(self) -> int:
        """Cells of the flow along a side."""
        return int(self.config.sample_size) // int(self.config.flow_stride)

    def encode_reference(self, image_B3SS: Tensor) -> ReferencePyramid:
        """Features of a reference picture in [-1, 1]."""
        x = self.reference_fine(self.reference_in(F.pixel_unshuffle(image_B3SS, PIXEL_STRIDE)))
        middle = self.reference_middle(self.reference_down1(x))
        coarse = self.reference_coarse(self.reference_down2(middle))
        return ReferencePyramid(fine=x, middle=middle, coarse=coarse)

    def still(self, reference: ReferencePyramid, num_frames: int) -> Tensor:
        """Latents (B, C, F, H, W) of frames that all look like the reference: zeros."""
        batch, _, height, width = reference.coarse.shape
        return reference.coarse.new_zeros(batch, self.latent_channels, num_frames, height, width)

    def reference_input(self, reference: ReferencePyramid, motion_BCNHW: Tensor | None) -> Tensor:
        """What the ReferenceNet reads: reference features beside motion latents, (B, C_ref + C, 1 + n, H, W).

        The reference's own motion is zero by construction, so image and motion frames are one kind of input.
        """
        batch, _, height, width = reference.coarse.shape
        motion = reference.coarse.new_zeros(batch, self.latent_channels, 1, height, width)
        if motion_BCNHW is not None:
            motion = torch.cat([motion, motion_BCNHW.to(motion.dtype)], 2)
        features = reference.coarse[:, :, None].expand(-1, -1, motion.shape[2], -1, -1)
        return torch.cat([features, motion], 1)

    def pack(self, flow_B2hw: Tensor) -> Tensor:
        """Flow in units of the side, on its own grid -> latents (B, C, H, W), about unit spread."""
        return pack_flow(flow_B2hw / self.config.flow_scale, self.config.flow_stride)

    def unpack(self, latents_BCHW: Tensor) -> Tensor:
        """The inverse of `pack`."""
        flow = unpack_flow(latents_BCHW.float(), self.config.flow_stride)
        return flow * float(self.config.flow_scale)

    def decode(
        self,
        latents_BCFHW: Tensor,
        image_B3SS: Tensor,
        reference: ReferencePyramid,
        *,
        picture_B3HW: Tensor | None = None,
        size: tuple[int, ...] | None = None,
        lips: LipMotion | None = None,
        inside: MouthInside | None = None,
    ) -> Tensor:
        """Latents -> frames (B, 3, F, height, width) in [-1, 1].

        Args:
            latents_BCFHW: as the denoiser makes them.
            image_B3SS: the reference crop at the size that the networks see.
            reference: its features, from `encode_reference`.
            picture_B3HW: the same crop at any other resolution; the frames then have the photo's own detail.
                Or one for each frame, (B*F, 3, H, W), frame fastest: eyes that shut. None takes `image_B3SS`.
            size: height and width of the frames; None takes the picture's, half of which is sharper (`warp`).
            lips: what the flow's mouth does more, of a single portrait (B = 1).
            inside: what shows where the mouth opens, of a single portrait too.
        """
        picture = image_B3SS if picture_B3HW is None else picture_B3HW
        size = size or picture.shape[-2:]
        batch, _, num_frames = latents_BCFHW.shape[:3]
        flow = self.unpack(latents_BCFHW.transpose(1, 2).flatten(0, 1))
        if lips is not None:
            flow = lips(flow)
        residual = self.decoder(
            reference.expand_frames(num_frames),
            flow,
            margin=int(_MARGIN * min(latents_BCFHW.shape[-2:])),
        )
        residual = to_tone_of(image_B3SS, torch.unflatten(residual, 0, (batch, num_frames))).flatten(0, 1)
        if residual.shape[-2:] != size:
            # Bilinear: bicubic takes as long as all convolutions of the decoder, and nobody sees it.
            residual = F.interpolate(residual.float(), size=size, mode="bilinear", align_corners=False)
        if len(picture) != batch * num_frames:
            picture = picture.repeat_interleave(num_frames, 0)
        if inside is not None:
            flow = inside.settle(flow)
        moved = warp(picture, flow, size=size, is_sharp=True)
        frames: Tensor = moved + residual.to(picture.dtype)
        if inside is not None:
            frames = inside.paint(frames, flow)
        return frames.clamp(-1, 1).reshape(batch, num_frames, *frames.shape[1:]).transpose(1, 2)
