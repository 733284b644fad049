"""Arguments of `EmoUNet` and `ReferenceNet` for each network size.

`sd15`: the sizes of SD-1.5 and AnimateDiff, for 64x64 latents of 4 channels. `embedded`: the small network in
the package, for 16x16 latents of 40 channels. `hallo`, `echomimic` and `echomimic_acc` (the same network with
other weights): SD-1.5's size, for the published weights of those projects.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from openemo.errors import ConfigError

__all__ = ["Preset", "reference_config", "unet_config"]

Preset = Literal["sd15", "embedded", "hallo", "echomimic", "echomimic_acc"]

_SD15: dict[str, Any] = dict(
    block_out_channels=(320, 640, 1280, 1280),
    attention_levels=(True, True, True, False),
    layers_per_block=2,
    num_attention_heads=8,
    norm_num_groups=32,
    ff_mult=4,
    cross_attention_dim=768,
    temporal_mid=True,
)
_SPATIAL: dict[str, dict[str, Any]] = {
    "sd15": _SD15,
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
    "hallo": _SD15,
    "echomimic": _SD15 | dict(cross_attention_dim=384),
}

_ANIMATEDIFF: dict[str, Any] = dict(
    temporal_num_heads=8, temporal_attentions=2, temporal_ff_mult=4, max_frames=32
)

# sd15's audio: 12 blocks of wav2vec2-base (768 values each), 5 feature frames (m = 2) around a video frame.
_BACKBONE: dict[str, dict[str, Any]] = {
    "sd15": dict(
        in_channels=4,
        out_channels=4,
        audio_feature_dim=12 * 768,
        audio_tokens=5,
        audio_dim=768,
        audio_time_embedding=False,
        **_ANIMATEDIFF,
        locator_downscale=8,
        speed_dim=256,
    ),
    "embedded": dict(
        in_channels=40,
        out_channels=40,
        audio_feature_dim=1024,
        audio_tokens=10,
        audio_dim=128,
        audio_time_embedding=True,
        temporal_num_heads=(2, 3, 4),
        temporal_attentions=1,
        temporal_ff_mult=2,
        max_frames=32,
        locator_downscale=16,
        locator_in_channels=4,  # face, lips, gap between them, eyes
        locator_gain=True,
        time_scale_shift=True,
        num_motion_conditions=6,
        expression_guide_channels=32,
        speed_dim=64,
    ),
    # wav2vec2 as for sd15, but the 5 feature frames of a window become 32 tokens together. The face embedding
    # is InsightFace's (512 values).
    "hallo": dict(
        in_channels=4,
        out_channels=4,
        audio_attention="regions",
        audio_feature_dim=12 * 768,
        audio_window=5,
        audio_hidden_dim=512,
        audio_tokens=32,
        audio_dim=768,
        identity_dim=512,
        identity_tokens=4,
        **_ANIMATEDIFF,
        temporal_norm_num_groups=32,
        temporal_needs_attention=True,
        locator_downscale=8,
        locator_in_channels=3,
        locator_channels=(16, 32, 64, 128),
        speed_dim=None,
    ),
    # 5 layers of Whisper tiny (384 values each), 10 feature frames around a video frame: 50 tokens.
    "echomimic": dict(
        in_channels=4,
        out_channels=4,
        audio_attention="text",
        audio_gain=3.0,
        audio_feature_dim=384,
        audio_tokens=50,
        **_ANIMATEDIFF,
        temporal_norm_num_groups=32,
        locator_downscale=8,
        locator_in_channels=1,
        locator_channels=(16, 32, 96, 256),
        speed_dim=None,
    ),
}

# Arguments of the ReferenceNet only. embedded: 64 channels of the autoencoder's reference features and 40 of
# motion latents.
_REFERENCE: dict[str, dict[str, Any]] = {
    "sd15": dict(in_channels=4),
    "embedded": dict(in_channels=64 + 40),
    "hallo": dict(in_channels=4, motion_features="attention", tile_text=True),
    "echomimic": dict(in_channels=4, cross_attention_dim=None),
}


def unet_config(preset: Preset) -> dict[str, Any]:
    """Keyword arguments of `EmoUNet`. Raises ConfigError for an unknown name."""
    name = _base_name(preset)
    return _SPATIAL[name] | _BACKBONE[name]


def reference_config(preset: Preset) -> dict[str, Any]:
    """Keyword arguments of the `ReferenceNet` that fits `EmoUNet(**unet_config(preset))`."""
    name = _base_name(preset)
    return _SPATIAL[name] | _REFERENCE[name]


def _base_name(preset: str) -> str:
    if preset not in get_args(Preset):
        raise ConfigError("unknown network size", got=preset, expected=" or ".join(get_args(Preset)))
    return preset.removesuffix("_acc")
