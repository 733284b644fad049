"""What the networks are told of one video and of one clip, with guidance's unconditional side.

Shape letters as in `pipeline.py`; L identity tokens.
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
from openemo.face.masks import pyramid
from openemo.lids import EyeLids
from openemo.models import EmoUNet, ReferenceNet
from openemo.models.families import hallo_halves
from openemo.models.inside import MouthInside
from openemo.models.lips import LipMotion
from openemo.models.reference import ReferenceFeatures
from openemo.scene import Scene

__all__ = ["MovedPicture", "Sight", "clip_conditions"]


@dataclass(frozen=True, slots=True)
class MovedPicture:
    """The portrait itself, for autoencoders whose frames are it, moved.

    Attributes:
        picture_B3QQ: the square at twice the size that is shown, so that it stays sharp when it moves by
            parts of a pixel.
        inside: what shows where the mouth opens.
        lids: what shuts the eyes of the picture.
        lips: how much more the mouth moves than the network says.
    """

    picture_B3QQ: Tensor
    inside: MouthInside
    lids: EyeLids
    lips: LipMotion


@dataclass(frozen=True, slots=True)
class Sight:
    """The scene as the networks see it; the same for all clips of a video.

    Attributes:
        image_B3SS: the square in [-1, 1]; its device and dtype are those of all that follows.
        size_px: the side that is shown.
        features: the autoencoder's reading of the image.
        place_BCHW: the face region, encoded; None for networks without face locator.
        region_masks: for each level (1, 3, H, W); empty for networks that do not hear by regions.
        identity_2LD: identity tokens of nobody, then of this person; None for networks without.
        moved: the picture that moves; None for autoencoders that draw each frame anew.
    """

    image_B3SS: Tensor
    size_px: int
    features: Any
    place_BCHW: Tensor | None
    region_masks: tuple[Tensor, ...]
    identity_2LD: Tensor | None
    moved: MovedPicture | None = None

    @classmethod
    def of(
        cls,
        unet: EmoUNet,
        *,
        image_B3SS: Tensor,
        size_px: int,
        features: Any,
        moved: MovedPicture | None,
        scene: Scene,
        identity: NDArray[np.float32] | None,
        stride: int,
    ) -> Self:
        """Encode what this network has layers for.

        Args:
            identity: face embedding; None is nobody in particular.
            stride: pixels per latent cell.

        Raises:
            ConfigError: the network has no identity layers, or for embeddings of another width.
        """
        place = None
        if unet.config.locator_downscale is not None:
            # One mask serves networks with several inputs in all of them (Hallo).
            channels, given = unet.config.locator_in_channels, torch.from_numpy(scene.locator)
            if len(given) not in (1, channels):
                raise ConfigError(
                    "the masks do not fit the face locator",
                    got=f"{len(given)} masks",
                    expected=str(channels),
                    fix='Set `locator` to "parts" for networks that read parts of the face, else to "soft"',
                )
            place = unet.encode_locator(given.expand(channels, -1, -1)[None].to(image_B3SS))
        masks: tuple[Tensor, ...] = ()
        if unet.config.audio_attention == "regions":
            grid = (image_B3SS.shape[-1] // stride, image_B3SS.shape[-2] // stride)
            sizes = pyramid(grid, len(unet.config.block_out_channels))
            masks = tuple(torch.from_numpy(mask)[None].to(image_B3SS) for mask in scene.regions.levels(sizes))
        return cls(
            image_B3SS,
            size_px,
            features,
            place,
            masks,
            _identity_tokens(unet, identity, image_B3SS),
            moved,
        )


@torch.no_grad()
def clip_conditions(
    unet: EmoUNet,
    reference_net: ReferenceNet,
    sight: Sight,
    reference_input_BCNHW: Tensor,
    audio_BFTD: Tensor,
    settings: PipelineConfig,
    gestures_BFG: Tensor | None = None,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Arguments of the network for one clip, and those that are others in guidance's unconditional run.

    None for the latter is silence alone. With guidance over all, the unconditional run has neither sound nor
    reference attention nor face region, and nobody's identity; it keeps the motion frames.
    """
    guided = settings.guidance_scale != 1
    reference, other = _references(
        reference_net, reference_input_BCNHW, sight.identity_2LD, guided, audio_BFTD.shape[1]
    )
    conditions: dict[str, Any] = {"audio_BFTD": audio_BFTD, "reference": reference}
    if sight.place_BCHW is not None:
        conditions["place_BCHW"] = sight.place_BCHW
    if gestures_BFG is not None:
        conditions["gestures_BFG"] = gestures_BFG.to(audio_BFTD)
    if settings.speed is not None:
        conditions["speed_BF"] = audio_BFTD.new_full(audio_BFTD.shape[:2], settings.speed)
    if sight.identity_2LD is not None:
        conditions["encoder_hidden_states"] = sight.identity_2LD[1:]
    if sight.region_masks:
        conditions["region_masks"] = sight.region_masks
        conditions["region_weights"] = audio_BFTD.new_tensor(settings.region_weights)
    if settings.guidance_over == "sound" or not guided:
        return conditions, None
    unconditional = {
        "audio_BFTD": None,
        "audio_tokens_BFTA": torch.zeros_like(unet.encode_audio(audio_BFTD)),
        "reference": other.without_reference(),
        "place_BCHW": None,
    }
    if sight.identity_2LD is not None:
        unconditional["encoder_hidden_states"] = sight.identity_2LD[:1]
    return conditions, unconditional


def _references(
    reference_net: ReferenceNet,
    pictures_BCNHW: Tensor,
    identity_2LD: Tensor | None,
    guided: bool,
    num_frames: int,
) -> tuple[ReferenceFeatures, ReferenceFeatures]:
    """Features for the conditional and for the unconditional run.

    They are the same, unless the ReferenceNet reads identity tokens: then both halves of guidance go through
    it together, nobody first; with `tile_text` tokens and features meet pictures and frames in turns.
    """
    if identity_2LD is None:
        features = reference_net(pictures_BCNHW)
        return features, features
    if not guided:
        features = reference_net(pictures_BCNHW, encoder_hidden_states=identity_2LD[1:])
        return features, features
    both = reference_net(torch.cat([pictures_BCNHW] * 2), encoder_hidden_states=identity_2LD)
    if reference_net.config.tile_text:
        nobody, person = hallo_halves(both, num_frames)
    else:
        nobody, person = (
            ReferenceFeatures(*(tuple(feature[half : half + 1] for feature in part) for part in parts))
            for half in (0, 1)
            for parts in [(both.attention, both.motion)]
        )
    return person, nobody


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
