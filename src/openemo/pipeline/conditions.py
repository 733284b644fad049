"""What the networks are told: of a portrait once per video, and of each clip.

Shape letters as in `emo.py`; L identity tokens, K motion conditions, E flows of brows and emotions,
G channels of the expression guide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.config import PipelineConfig
from openemo.errors import ConfigError
from openemo.face.masks import RegionMasks, level_sizes
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.autoencoder import Autoencoder, Engine, Reference, torch_engine
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.pipeline.guidance import reference_features, without_conditions
from openemo.pipeline.portrait import PreparedPortrait
from openemo.rendering.expression_flow import expression_flows

__all__ = ["ClipConditions", "ReferenceConditions", "clip_conditions"]


@dataclass(frozen=True, slots=True)
class ReferenceConditions:
    """A portrait as the networks read it; the same for all clips of a video.

    Attributes:
        encoded: what the autoencoder knows of it. Device and dtype of its features are those of all
            conditions.
        locator_features_BCHW: the face region, encoded; None for networks without face locator.
        region_masks: for each level (1, 3, H, W); empty for networks without audio attention by regions.
        identity_2LD: identity tokens, row 0 unconditional, row 1 of this person; None for networks without.
        expressions_EGHW: what brows and each emotion add to the expression guide; None for networks without.
    """

    encoded: Reference
    locator_features_BCHW: Tensor | None
    region_masks: tuple[Tensor, ...]
    identity_2LD: Tensor | None
    expressions_EGHW: Tensor | None = None

    @property
    def features_BCHW(self) -> Tensor:
        return self.encoded.features_BCHW

    @classmethod
    def encode(
        cls, unet: EmoUNet, autoencoder: Autoencoder[Any], reference: Reference, portrait: PreparedPortrait
    ) -> Self:
        """Encode what this network has layers for.

        Raises:
            ConfigError: masks or face embedding do not fit the network.
        """
        like = reference.features_BCHW
        return cls(
            reference,
            _locator_features(unet, portrait.locator, like),
            _region_masks(unet, portrait.regions, like),
            _identity_tokens(unet, portrait.identity, like),
            _expressions(unet, autoencoder, portrait, like),
        )

    def expression_guide(self, weights_FE: NDArray[np.float32]) -> Tensor | None:
        """(1, F, G, H, W) for frames that have so much of each expression, see `expression_weights`."""
        if self.expressions_EGHW is None:
            return None
        weights = torch.from_numpy(weights_FE).to(self.expressions_EGHW)
        return torch.einsum("fe,eghw->fghw", weights, self.expressions_EGHW)[None]


@dataclass(frozen=True, slots=True)
class ClipConditions:
    """Arguments of the denoising UNet for one clip.

    Attributes:
        conditional: all conditions.
        unconditional_changes: those that differ in guidance's second run; None drops the audio alone.
    """

    conditional: dict[str, Any]
    unconditional_changes: dict[str, Any] | None

    @property
    def audio_BFTD(self) -> Tensor:
        audio: Tensor = self.conditional["audio_BFTD"]
        return audio


def clip_conditions(
    unet: EmoUNet,
    reference_net: ReferenceNet,
    conditions: ReferenceConditions,
    reference_input_BCNHW: Tensor,
    audio_BFTD: Tensor,
    config: PipelineConfig,
    motion_conditions_BFK: Tensor | None = None,
    expression_guide_BFGHW: Tensor | None = None,
    engine: Engine = torch_engine,
) -> ClipConditions:
    """What the UNet is told of one clip.

    Args:
        reference_input_BCNHW: the reference and the motion frames, as the ReferenceNet reads them.
        motion_conditions_BFK, expression_guide_BFGHW: None for networks without.
        engine: runs the ReferenceNet.
    """
    is_guided, identity_2LD = config.guidance_scale != 1, conditions.identity_2LD
    reference, unconditional_reference = reference_features(
        reference_net,
        reference_input_BCNHW,
        identity_2LD,
        is_guided=is_guided,
        num_frames=audio_BFTD.shape[1],
        engine=engine,
    )
    conditional: dict[str, Any] = {"audio_BFTD": audio_BFTD, "reference": reference}
    if conditions.locator_features_BCHW is not None:
        conditional["locator_features_BCHW"] = conditions.locator_features_BCHW
    if motion_conditions_BFK is not None:
        conditional["motion_conditions_BFK"] = motion_conditions_BFK.to(audio_BFTD)
    if expression_guide_BFGHW is not None:
        conditional["expression_guide_BFGHW"] = expression_guide_BFGHW
    if config.speed is not None:
        conditional["speed_BF"] = audio_BFTD.new_full(audio_BFTD.shape[:2], config.speed)
    if identity_2LD is not None:
        conditional["encoder_hidden_states"] = identity_2LD[1:]
    if conditions.region_masks:
        conditional["region_masks"] = conditions.region_masks
        conditional["region_weights"] = audio_BFTD.new_tensor(config.region_weights)
    if config.guidance_over == "audio" or not is_guided:
        return ClipConditions(conditional, None)
    return ClipConditions(
        conditional, without_conditions(unet, audio_BFTD, unconditional_reference, identity_2LD)
    )


def _locator_features(unet: EmoUNet, locator: NDArray[np.float32], like: Tensor) -> Tensor | None:
    if unet.config.locator_downscale is None:
        return None
    # One mask serves networks with several inputs in all of them (Hallo).
    channels, masks = unet.config.locator_in_channels, torch.from_numpy(locator)
    if len(masks) not in (1, channels):
        raise ConfigError(
            "the masks do not fit the face locator",
            got=f"{len(masks)} masks",
            expected=str(channels),
            fix='Set `locator` to "parts" for networks that read parts of the face, else to "soft"',
        )
    return unet.encode_locator(masks.expand(channels, -1, -1)[None].to(like))


def _region_masks(unet: EmoUNet, regions: RegionMasks, like: Tensor) -> tuple[Tensor, ...]:
    if unet.config.audio_attention != "regions":
        return ()
    sizes = level_sizes((like.shape[-1], like.shape[-2]), len(unet.config.block_out_channels))
    return tuple(torch.from_numpy(mask)[None].to(like) for mask in regions.levels(sizes))


def _identity_tokens(unet: EmoUNet, identity: NDArray[np.float32] | None, like: Tensor) -> Tensor | None:
    width = unet.config.identity_dim
    if width is None:
        if identity is not None:
            raise ConfigError(
                "this model has no identity layers", got="a face embedding", fix="Leave the face embedder out"
            )
        return None
    if identity is not None and identity.shape != (width,):
        raise ConfigError(
            "the face embedding does not fit the model", got=identity.shape, expected=f"({width},)"
        )
    nobody = like.new_zeros(width)
    person = nobody if identity is None else torch.from_numpy(identity).to(like)
    return unet.encode_identity(torch.stack([nobody, person]))


def _expressions(
    unet: EmoUNet, autoencoder: Autoencoder[Any], portrait: PreparedPortrait, like: Tensor
) -> Tensor | None:
    if unet.config.expression_guide_channels is None or not isinstance(autoencoder, MotionAutoencoder):
        return None
    flows = torch.from_numpy(expression_flows(portrait.points, autoencoder.flow_size))
    return autoencoder.pack_face(flows).to(like)
