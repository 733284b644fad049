"""The two sizes that are built from the one implementation.

`sd15`: SD-1.5's and AnimateDiff's shapes, for 64x64 latents of 4 channels. `embedded`: the small network
that ships, for 16x16 latents of 16 channels.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from openemo.errors import ConfigError

__all__ = ["Preset", "reference_config", "unet_config"]

Preset = Literal["sd15", "embedded"]

_SPATIAL: dict[str, dict[str, Any]] = {
    "sd15": dict(
        block_out_channels=(320, 640, 1280, 1280),
        attention_levels=(True, True, True, False),
        layers_per_block=2,
        num_attention_heads=8,
        norm_num_groups=32,
        ff_mult=4,
        cross_attention_dim=768,
        temporal_mid=True,
    ),
    "embedded": dict(
        block_out_channels=(64, 96, 128),
        attention_levels=(True, True, True),
        layers_per_block=1,
        num_attention_heads=(2, 3, 4),
        norm_num_groups=16,
        ff_mult=2,
        cross_attention_dim=None,
        temporal_mid=True,
    ),
}

# sd15's audio: 12 blocks of wav2vec2-base (768 each), 5 feature frames (m = 2) around a video frame.
_BACKBONE: dict[str, dict[str, Any]] = {
    "sd15": dict(
        in_channels=4,
        out_channels=4,
        audio_feature_dim=12 * 768,
        audio_tokens=5,
        audio_dim=768,
        audio_time_embedding=False,
        temporal_num_heads=8,
        temporal_attentions=2,
        temporal_ff_mult=4,
        max_frames=32,
        locator_downscale=8,
        speed_dim=256,
    ),
    "embedded": dict(
        in_channels=16,
        out_channels=16,
        audio_feature_dim=1024,
        audio_tokens=10,
        audio_dim=128,
        audio_time_embedding=True,
        temporal_num_heads=(2, 3, 4),
        temporal_attentions=1,
        temporal_ff_mult=2,
        max_frames=32,
        locator_downscale=16,
        speed_dim=64,
    ),
}

# embedded: 64 channels of the autoencoder's reference features and 16 of motion latents.
_REFERENCE_IN_CHANNELS = {"sd15": 4, "embedded": 64 + 16}


def unet_config(preset: Preset) -> dict[str, Any]:
    """Keyword arguments of `EmoUNet`. Raises ConfigError for an unknown name."""
    return _SPATIAL[_known(preset)] | _BACKBONE[preset]


def reference_config(preset: Preset) -> dict[str, Any]:
    """Keyword arguments of the `ReferenceNet` that fits `EmoUNet(**unet_config(preset))`."""
    return _SPATIAL[_known(preset)] | {"in_channels": _REFERENCE_IN_CHANNELS[preset]}


def _known(preset: str) -> str:
    if preset not in get_args(Preset):
        raise ConfigError("unknown network size", got=preset, expected=" or ".join(get_args(Preset)))
    return preset
