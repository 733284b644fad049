"""Settings of our networks for Hallo and EchoMimic, from the settings of their own code.

The arguments are the constructor arguments of the original code, as in its config files. Unsupported settings
are errors, never ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from openemo.errors import ConfigError

__all__ = [
    "echomimic_reference_config",
    "echomimic_unet_config",
    "hallo_reference_config",
    "hallo_unet_config",
]

Settings = Mapping[str, Any]

# Settings of the original code for which our networks support one value.
_FIXED: dict[str, Any] = {
    "act_fn": "silu",
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_padding": 1,
    "dual_cross_attention": False,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "motion_module_decoder_only": False,
    "motion_module_type": "Vanilla",
    "num_class_embeds": None,
    "only_cross_attention": False,
    "resnet_time_scale_shift": "default",
    "upcast_attention": False,
    "use_audio_module": True,
    "use_inflated_groupnorm": True,
    "use_linear_projection": False,
    "use_motion_module": True,
}
_OFF = frozenset({"unet_use_cross_frame_attention", "unet_use_temporal_attention"})  # None or False
_FREE = frozenset(
    {
        "attention_head_dim",
        "audio_attention_dim",
        "block_out_channels",
        "cross_attention_dim",
        "down_block_types",
        "in_channels",
        "layers_per_block",
        "motion_module_kwargs",
        "motion_module_mid_block",
        "motion_module_resolutions",
        "norm_eps",
        "norm_num_groups",
        "out_channels",
        "sample_size",
        "stack_enable_blocks_depth",
        "stack_enable_blocks_name",
        "up_block_types",
    }
)
# In both families, whatever norm_num_groups is.
_MOTION_MODULE_GROUPS = 32


def hallo_unet_config(unet: Settings, conditioning: Settings) -> dict[str, Any]:
    """Keyword arguments of the `EmoUNet` that has Hallo's denoising network, face locator and projections.

    Args:
        unet: of Hallo's UNet3DConditionModel.
        conditioning: "face_locator", "imageproj" and "audioproj", each with its arguments.

    Raises:
        ConfigError: a setting that our networks do not have.
    """
    audio, identity = conditioning["audioproj"], conditioning["imageproj"]
    _same("audio_attention_dim", unet.get("audio_attention_dim", 768), audio["output_dim"])
    _same("cross_attention_dim", unet["cross_attention_dim"], identity["cross_attention_dim"])
    levels = len(unet["block_out_channels"])
    _same("stack_enable_blocks_name", sorted(unet["stack_enable_blocks_name"]), ["down", "mid", "up"])
    _same("stack_enable_blocks_depth", sorted(unet["stack_enable_blocks_depth"]), list(range(levels)))
    return (
        _spatial(unet)
        | _temporal(unet)
        | _locator(unet, conditioning["face_locator"])
        | dict(
            out_channels=unet["out_channels"],
            cross_attention_dim=unet["cross_attention_dim"],
            temporal_needs_attention=True,
            audio_attention="regions",
            audio_feature_dim=audio["blocks"] * audio["channels"],
            audio_window=audio["seq_len"],
            audio_hidden_dim=audio["intermediate_dim"],
            audio_tokens=audio["context_tokens"],
            audio_dim=audio["output_dim"],
            identity_dim=identity["clip_embeddings_dim"],
            identity_tokens=identity["clip_extra_context_tokens"],
        )
    )


def hallo_reference_config(reference: Settings, *, temporal_mid: bool = True) -> dict[str, Any]:
    """Keyword arguments of the `ReferenceNet` that is Hallo's UNet2DConditionModel.

    Args:
        temporal_mid: the `motion_module_mid_block` of the denoising network.
    """
    return _spatial(reference) | dict(
        cross_attention_dim=reference["cross_attention_dim"],
        temporal_mid=temporal_mid,
        motion_features="attention",
        tile_text=True,
    )


def echomimic_unet_config(
    unet: Settings, audio_tokens: int, face_locator: Settings | None = None
) -> dict[str, Any]:
    """Keyword arguments of the `EmoUNet` that is EchoMimic's EchoUNet3DConditionModel.

    Args:
        audio_tokens: of one video frame (full size: 50).
        face_locator: arguments of its FaceLocator, or None to leave it out.
    """
    return (
        _spatial(unet)
        | _temporal(unet)
        | ({"locator_downscale": None} if face_locator is None else _locator(unet, face_locator))
        | dict(
            out_channels=unet["out_channels"],
            cross_attention_dim=unet["cross_attention_dim"],
            audio_attention="text",
            audio_gain=3.0,
            audio_feature_dim=unet["cross_attention_dim"],
            audio_tokens=audio_tokens,
        )
    )


def echomimic_reference_config(reference: Settings) -> dict[str, Any]:
    """Keyword arguments of the `ReferenceNet` that is EchoMimic's: SD-1.5 without its text attention."""
    return _spatial(reference) | dict(cross_attention_dim=None)


def _spatial(settings: Settings) -> dict[str, Any]:
    """Settings that the denoising and the reference network share."""
    for name, value in settings.items():
        if name in _FIXED:
            _same(name, value, _FIXED[name])
        elif name in _OFF:
            _same(name, bool(value), False)
        elif name not in _FREE:
            raise ConfigError("unknown setting of the network", got=name)
    attention_levels = tuple("CrossAttn" in kind for kind in settings["down_block_types"])
    _same(
        "up_block_types",
        ["CrossAttn" in kind for kind in settings["up_block_types"]],
        list(reversed(attention_levels)),
    )
    return dict(
        in_channels=settings["in_channels"],
        block_out_channels=tuple(settings["block_out_channels"]),
        attention_levels=attention_levels,
        layers_per_block=settings["layers_per_block"],
        num_attention_heads=settings["attention_head_dim"],  # the number of heads, despite the name
        norm_num_groups=settings["norm_num_groups"],
        norm_eps=settings["norm_eps"],
        ff_mult=4,
    )


def _temporal(unet: Settings) -> dict[str, Any]:
    kwargs = unet["motion_module_kwargs"]
    levels = len(unet["block_out_channels"])
    _same("motion_module_resolutions", list(unet["motion_module_resolutions"]), [2**i for i in range(levels)])
    _same("temporal_position_encoding", kwargs.get("temporal_position_encoding", False), True)
    _same("temporal_attention_dim_div", kwargs.get("temporal_attention_dim_div", 1), 1)
    attentions = kwargs["attention_block_types"]
    _same("attention_block_types", set(attentions), {"Temporal_Self"})
    return dict(
        temporal_mid=unet["motion_module_mid_block"],
        temporal_num_heads=kwargs["num_attention_heads"],
        temporal_blocks=kwargs["num_transformer_block"],
        temporal_attentions=len(attentions),
        temporal_norm_num_groups=_MOTION_MODULE_GROUPS,
        max_frames=kwargs["temporal_position_encoding_max_len"],
        speed_dim=None,
    )


def _locator(unet: Settings, locator: Settings) -> dict[str, Any]:
    _same(
        "conditioning_embedding_channels",
        locator["conditioning_embedding_channels"],
        unet["block_out_channels"][0],
    )
    channels = tuple(locator["block_out_channels"])
    return dict(
        locator_downscale=2 ** (len(channels) - 1),
        locator_in_channels=locator["conditioning_channels"],
        locator_channels=channels,
    )


def _same(name: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise ConfigError(f"this network does not have {name}", got=got, expected=str(expected))
