"""Motion-compensated autoencoder: the latent of a frame is how it moved from the reference picture.

The latent of a frame is a small backward flow field: where each position of the frame comes from in the
reference. The decoder warps the reference by it. It draws the inside of the mouth where the flow opens the
lips, and adds a residual that no warp can show: shadows, edges of lips, lashes. Identity, background and
sharpness come from the photo itself, at any resolution. Without motion the latent is zero.

Neural video codecs and latent flow diffusion (Ni et al., LFDM, CVPR 2023) use the same principle. To the
diffusion network the flow is an ordinary latent. A residual code beside the flow was tried and dropped: a
denoiser predicts its mean, and mouths looked better without it (`docs/log/`).

Shapes: B batch, C channels, F frames, S picture side, H = W = S / 16 latent side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.autoencoder import MAX_SAMPLE_PX, Autoencoder, Engine, torch_engine
from openemo.models.motion_decoder import PIXEL_STRIDE, MotionDecoder, ReferencePyramid, ResBlock
from openemo.network_settings import register_to_config
from openemo.rendering.flow import FLOW_STRIDES, LATENT_STRIDE, pack_flow, unpack_flow, warp
from openemo.rendering.mouth_interior import TEETH_SIZE
from openemo.rendering.portrait_layers import PortraitLayers, PortraitPicture
from openemo.rendering.tone import PictureTone

__all__ = ["MotionAutoencoder", "MotionReference"]

_HEAD_STRIDE = 8
_HEAD_CHANNELS = 2 * (LATENT_STRIDE // _HEAD_STRIDE) ** 2

# Part of the crop at each side in which only the warp shows: hair, shoulders, background.
_MARGIN = 1 / 8


@dataclass(frozen=True, slots=True)
class MotionReference:
    """A portrait as `MotionAutoencoder` has read it.

    Attributes:
        image_B3SS: the crop in [-1, 1] at the size that the networks read.
        pyramid: its features.
        tone: in which the decoder's residual stays.
        layers: the crop as it is shown, of a single portrait; None decodes from `image_B3SS` alone.
    """

    image_B3SS: Tensor
    pyramid: ReferencePyramid
    tone: PictureTone
    layers: PortraitLayers | None = None

    def with_lip_motion(self, gain: float) -> Self:
        """The same with a further factor on the motion of the mouth. A covered mouth stays still."""
        if self.layers is None:
            return self
        lips = self.layers.lip_motion
        layers = replace(self.layers, lip_motion=replace(lips, strength=gain * lips.strength))
        return replace(self, layers=layers)

    @property
    def features_BCHW(self) -> Tensor:
        return self.pyramid.coarse


class MotionAutoencoder(Autoencoder[MotionReference]):
    """Frames <-> flow relative to a reference picture.

    Latents have 8 or 32 channels (two components at twice or four times the latent grid, see `pack_flow`),
    scaled to about unit spread. With `head_flow_scale` 8 more say how the head moves as a rigid body; the
    first ones are then the motion of the face in a head that is still.

    Args:
        sample_size: side of the square crop that the networks see, px; a multiple of 16.
        fine_channels, middle_channels, reference_channels: widths of the reference's encoder at strides 4, 8
            and 16.
        reference_norm: of the reference's encoder. "layer" is a LayerNorm over the channels of each pixel: a
            window gives what the whole crop gives, so training on windows is enough. "group" is a GroupNorm
            over the whole feature map.
        decoder_channels, decoder_blocks: see `MotionDecoder`.
        flow_stride: pixels per cell of the flow, 8 or 4. An eyelid moves by less than 8.
        flow_scale: displacement, in units of the crop's side, that counts as 1 in the latents.
        head_flow_scale: the same for the head's flow, at 8 px per cell; None: the latents have none.

    Attributes:
        teeth: (4, *TEETH_SIZE), for portraits that hide theirs: colour over the face's light, and opacity
            (`openemo.data.teeth`); zeros are none.
    """

    teeth: Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 256,
        fine_channels: int = 24,
        middle_channels: int = 64,
        reference_channels: int = 64,
        reference_norm: Literal["group", "layer"] = "group",
        decoder_channels: Sequence[int] = (32, 96, 128),
        decoder_blocks: int = 2,
        flow_stride: int = 4,
        flow_scale: float = 0.005,
        head_flow_scale: float | None = None,
    ) -> None:
        super().__init__()
        if sample_size % LATENT_STRIDE or not 0 < sample_size <= MAX_SAMPLE_PX:
            nearest = min(sample_size // LATENT_STRIDE * LATENT_STRIDE, MAX_SAMPLE_PX)
            raise ConfigError(
                f"`sample_size` of the autoencoder must be a multiple of 16, at most {MAX_SAMPLE_PX}",
                got=sample_size,
                fix=f"Use {max(nearest, LATENT_STRIDE)}",
            )
        if not flow_scale > 0:
            raise ConfigError("`flow_scale` of the autoencoder must be above zero", got=flow_scale)
        if head_flow_scale is not None and not head_flow_scale > 0:
            raise ConfigError(
                "`head_flow_scale` of the autoencoder must be above zero, or None", got=head_flow_scale
            )
        if flow_stride not in FLOW_STRIDES:
            raise ConfigError(
                "`flow_stride` of the autoencoder is not one of those it can pack",
                got=flow_stride,
                expected=" or ".join(map(str, FLOW_STRIDES)),
            )
        if reference_norm not in ("group", "layer"):
            raise ConfigError(
                "`reference_norm` of the autoencoder is unknown",
                got=reference_norm,
                expected="group or layer",
            )
        pixels = 3 * PIXEL_STRIDE**2
        fine, middle, coarse = fine_channels, middle_channels, reference_channels
        is_local = reference_norm == "layer"

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
        return self.face_channels + (0 if self.config.head_flow_scale is None else _HEAD_CHANNELS)

    @property
    def face_channels(self) -> int:
        return 2 * (LATENT_STRIDE // int(self.config.flow_stride)) ** 2

    @property
    def stride(self) -> int:
        """Pixels per latent cell."""
        return LATENT_STRIDE

    @property
    def moves_portrait(self) -> bool:
        return True

    @property
    def flow_size(self) -> int:
        """Cells of the flow along a side."""
        return int(self.config.sample_size) // int(self.config.flow_stride)

    def encode_pyramid(self, image_B3SS: Tensor) -> ReferencePyramid:
        """Features of a reference picture in [-1, 1]."""
        x = self.reference_fine(self.reference_in(F.pixel_unshuffle(image_B3SS, PIXEL_STRIDE)))
        middle = self.reference_middle(self.reference_down1(x))
        coarse = self.reference_coarse(self.reference_down2(middle))
        return ReferencePyramid(fine=x, middle=middle, coarse=coarse)

    def encode_reference(self, image_B3SS: Tensor, picture: PortraitPicture | None = None) -> MotionReference:
        """Features of the reference and, with `picture`, all that is drawn of a single portrait by rule."""
        layers = None
        if picture is not None:
            layers = PortraitLayers.draw(
                picture,
                teeth=self.teeth.float().cpu().numpy(),
                flow_size=self.flow_size,
                device=image_B3SS.device,
            )
        return MotionReference(
            image_B3SS, self.encode_pyramid(image_B3SS), PictureTone.of(image_B3SS), layers
        )

    def still_latents(self, features_BCHW: Tensor, num_frames: int) -> Tensor:
        """Zeros: no motion."""
        batch, _, height, width = features_BCHW.shape
        return features_BCHW.new_zeros(batch, self.latent_channels, num_frames, height, width)

    def reference_input(self, features_BCHW: Tensor, motion_BCNHW: Tensor | None) -> Tensor:
        """Reference features beside motion latents, (B, C_ref + C, 1 + N, H, W).

        The reference's own motion is zero by construction, so image and motion frames are one kind of input.
        """
        motion = self.still_latents(features_BCHW, 1)
        if motion_BCNHW is not None:
            motion = torch.cat([motion, motion_BCNHW.to(motion.dtype)], 2)
        features = features_BCHW[:, :, None].expand(-1, -1, motion.shape[2], -1, -1)
        return torch.cat([features, motion], 1)

    def pack(self, flow_B2hw: Tensor, head_flow_B2gg: Tensor | None = None) -> Tensor:
        """Flows in units of the side, on their own grids -> latents (B, C, H, W), about unit spread.

        Args:
            head_flow_B2gg: of the head, at 8 px per cell; None for a head that is still.
        """
        face = self.pack_face(flow_B2hw)
        if self.config.head_flow_scale is None:
            return face
        if head_flow_B2gg is None:
            head = face.new_zeros(len(face), _HEAD_CHANNELS, *face.shape[2:])
        else:
            head = pack_flow(head_flow_B2gg / self.config.head_flow_scale, _HEAD_STRIDE)
        return torch.cat([face, head], 1)

    def pack_face(self, flow_B2hw: Tensor) -> Tensor:
        """The channels of the face alone."""
        return pack_flow(flow_B2hw / self.config.flow_scale, self.config.flow_stride)

    def unpack(self, latents_BCHW: Tensor) -> Tensor:
        """The face's flow: the inverse of `pack`."""
        flow = unpack_flow(latents_BCHW[:, : self.face_channels].float(), self.config.flow_stride)
        return flow * float(self.config.flow_scale)

    def head_flow(self, latents_BCFHW: Tensor) -> Tensor | None:
        scale = self.config.head_flow_scale
        if scale is None:
            return None
        channels = latents_BCFHW[0, self.face_channels :].transpose(0, 1)
        return unpack_flow(channels.float(), _HEAD_STRIDE) * float(scale)

    def decode(
        self,
        latents_BCFHW: Tensor,
        reference: MotionReference,
        *,
        gaze_F2: NDArray[np.floating] | None = None,
        eyes_closed_F2: NDArray[np.floating] | None = None,
        expression_FE: NDArray[np.floating] | None = None,
        tongue_F: NDArray[np.floating] | None = None,
        pressed_F: NDArray[np.floating] | None = None,
        engine: Engine = torch_engine,
    ) -> Tensor:
        """Frames at the size of the reference's layers, on the CPU; without layers at the size of its image.

        The opacity of a portrait that has one moves by the same flow, as the fourth channel.
        """
        batch, _, num_frames = latents_BCFHW.shape[:3]
        flow = self.unpack(latents_BCFHW.transpose(1, 2).flatten(0, 1))
        layers, picture = reference.layers, reference.image_B3SS
        if layers is not None:
            flow = layers.lip_motion(
                flow, None if pressed_F is None else torch.from_numpy(pressed_F).to(flow)
            )
        residual: Tensor = engine(self.decoder)(
            reference.pyramid.expand_frames(num_frames),
            flow,
            margin=int(_MARGIN * min(latents_BCFHW.shape[-2:])),
        )
        residual = torch.unflatten(residual, 0, (batch, num_frames))
        residual = reference.tone.match(residual).flatten(0, 1)
        if layers is not None:
            frames = layers.animate(flow, residual, gaze_F2, eyes_closed_F2, expression_FE, tongue_F)
        else:
            moved = warp(picture.repeat_interleave(num_frames, 0), flow, is_bicubic=True)
            frames = (moved + residual.to(picture.dtype)).clamp(-1, 1)
        return frames.reshape(batch, num_frames, *frames.shape[1:]).transpose(1, 2)

    def lip_parting(self, latents_BCFHW: Tensor, reference: MotionReference) -> Tensor:
        """(B * F,) how much further lips are apart than in the reference, in units of the side, without gain.

        Raises:
            ConfigError: a reference without layers, which has no landmarks.
        """
        if reference.layers is None:
            raise ConfigError(
                "no lips are known", got="a reference without layers", fix="Encode it with `picture`"
            )
        return reference.layers.lip_motion.parting(self.unpack(latents_BCFHW.transpose(1, 2).flatten(0, 1)))

    def reencode(self, latents_BCNHW: Tensor, reference: MotionReference) -> Tensor:
        """The same latents: a decoded frame is the reference moved by just that flow."""
        return latents_BCNHW
