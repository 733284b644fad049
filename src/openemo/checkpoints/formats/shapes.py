"""Settings of a network from the shapes of its tensors, because a config file may be missing or wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from openemo.errors import CheckpointError
from openemo.models.image_autoencoder import SD15_SCALING_FACTOR
from openemo.weight_files import made_on_meta

__all__ = ["axes", "count", "on_meta", "unet_config_of", "vae_config_of"]

NetworkT = TypeVar("NetworkT", bound=nn.Module)

_MOST = 16  # layers of one kind in one block; SD-1.5 has up to 3
_MOST_TENSORS = 4000  # SD-1.5's size has 1,600
# Settings of an EmoUNet that has SD-1.5's layers and no others.
_IMAGE_ONLY: dict[str, Any] = dict(
    audio_feature_dim=None, temporal_modules=False, locator_downscale=None, speed_dim=None
)


def unet_config_of(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`EmoUNet` arguments of a UNet in diffusers' names. Raises CheckpointError if it is not SD-1.5's."""
    first = "down_blocks.{}.resnets.0.conv1.weight"
    channels = [axes(state, first.format(i), 4)[0] for i in range(count(state, first))]
    if not channels:
        raise CheckpointError(
            "this is no UNet of Stable Diffusion", got="no down_blocks.0.resnets.0.conv1.weight"
        )
    attention = [f"down_blocks.{i}.attentions.0.norm.weight" in state for i in range(len(channels))]
    block = "mid_block.attentions.0.transformer_blocks.0"
    return _IMAGE_ONLY | dict(
        in_channels=axes(state, "conv_in.weight", 4)[1],
        out_channels=axes(state, "conv_out.weight", 4)[0],
        block_out_channels=channels,
        attention_levels=attention,
        layers_per_block=count(state, "down_blocks.0.resnets.{}.conv1.weight"),
        num_attention_heads=settings.get("attention_head_dim", 8),
        norm_num_groups=settings.get("norm_num_groups", 32),
        norm_eps=settings.get("norm_eps", 1e-5),
        ff_mult=axes(state, f"{block}.ff.net.2.weight", 2)[1] // max(channels[-1], 1),
        cross_attention_dim=axes(state, f"{block}.attn2.to_k.weight", 2)[1],
    )


def vae_config_of(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`AutoencoderKL` arguments of an autoencoder in diffusers' names. Raises CheckpointError."""
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    channels = [axes(state, first.format(i), 4)[0] for i in range(count(state, first))]
    if not channels:
        raise CheckpointError("this is no autoencoder of Stable Diffusion", got="no encoder.down_blocks")
    return dict(
        in_channels=axes(state, "encoder.conv_in.weight", 4)[1],
        out_channels=axes(state, "decoder.conv_out.weight", 4)[0],
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        block_out_channels=channels,
        layers_per_block=count(state, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        latent_channels=axes(state, "post_quant_conv.weight", 4)[0],
        norm_num_groups=settings.get("norm_num_groups", 32),
        sample_size=settings.get("sample_size", 512),
        scaling_factor=settings.get("scaling_factor", SD15_SCALING_FACTOR),
    )


def count(state: Mapping[str, Tensor], key: str) -> int:
    """The number of tensors named `key`, with 0, 1, ... for its "{}"."""
    return next((i for i in range(_MOST) if key.format(i) not in state), _MOST)


def axes(state: Mapping[str, Tensor], key: str, ndim: int) -> tuple[int, ...]:
    """Shape of a tensor. Raises CheckpointError if it is missing, empty or has not `ndim` axes."""
    tensor = state.get(key)
    if tensor is None or tensor.ndim != ndim or 0 in tensor.shape:
        got = "missing" if tensor is None else tuple(tensor.shape)
        raise CheckpointError(
            "these weights are not of the format named", got=f"{key} {got}", expected=f"{ndim} axes"
        )
    return tuple(tensor.shape)


def on_meta(cls: type[NetworkT], config: dict[str, Any], *, num_tensors: int = _MOST_TENSORS) -> NetworkT:
    """A network on the meta device. Raises CheckpointError if the settings do not fit the class.

    Args:
        num_tensors: that its weights have.
    """
    what = f"the settings make no {cls.__name__}"
    return made_on_meta(lambda: cls(**config), what, num_tensors=num_tensors)
