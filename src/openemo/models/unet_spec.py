"""Sizes of a UNet, from which its blocks are built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from openemo.errors import ConfigError

__all__ = ["AudioAttention", "TemporalSpec", "UNetConfig", "UNetSpec", "backbone_spec", "per_level"]

AudioAttention = Literal["own", "text", "regions"]


class UNetConfig(Protocol):
    """What `EmoUNet.config` holds: the arguments of its constructor, which documents them."""

    in_channels: int
    out_channels: int
    block_out_channels: Sequence[int]
    attention_levels: Sequence[bool]
    layers_per_block: int
    num_attention_heads: int | Sequence[int]
    norm_num_groups: int
    norm_eps: float
    ff_mult: int
    cross_attention_dim: int | None
    audio_feature_dim: int | None
    audio_tokens: int
    audio_dim: int
    audio_attention: AudioAttention
    audio_gain: float
    audio_window: int | None
    audio_hidden_dim: int
    identity_dim: int | None
    identity_tokens: int
    audio_time_embedding: bool
    temporal_modules: bool
    temporal_mid: bool
    temporal_num_heads: int | Sequence[int]
    temporal_blocks: int
    temporal_attentions: int
    temporal_ff_mult: int
    temporal_norm_num_groups: int | None
    temporal_needs_attention: bool
    max_frames: int
    locator_downscale: int | None
    locator_in_channels: int
    locator_channels: Sequence[int] | None
    locator_gain: bool
    time_scale_shift: bool
    num_motion_conditions: int | None
    expression_guide_channels: int | None
    speed_dim: int | None
    speed_centres_rad_s: Sequence[float]
    speed_radii_rad_s: Sequence[float]
    speed_window: int


@dataclass(frozen=True, slots=True)
class TemporalSpec:
    """Sizes of all temporal modules.

    Args:
        mid: the mid block has a temporal module too (AnimateDiff v2).
        needs_attention: temporal modules of levels without spatial attention have weights but do not run
            (Hallo).
    """

    num_heads: tuple[int, ...]
    num_blocks: int
    num_attentions: int
    max_frames: int
    norm_num_groups: int
    ff_mult: int
    mid: bool
    needs_attention: bool
    speed_dim: int | None


@dataclass(frozen=True, slots=True)
class UNetSpec:
    """Sizes of a UNet. Sequences have one entry per level, the finest first.

    Args:
        text_dim: width of the tokens for text cross-attention; None for a UNet without it.
        audio_dim: width of the audio tokens, if each spatial transformer has audio attention.
        region_audio_dim: width of the audio tokens, if audio modules follow the spatial transformers.
        text_gain: factor on the output of text cross-attention.
        time_scale_shift: the time embedding scales and shifts the second norm of each ResNet block, instead
            of being added before it (adaptive group normalization, Dhariwal and Nichol 2021).
    """

    channels: tuple[int, ...]
    attention_levels: tuple[bool, ...]
    num_heads: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    norm_eps: float
    ff_mult: int
    text_dim: int | None
    audio_dim: int | None = None
    region_audio_dim: int | None = None
    text_gain: float = 1.0
    time_scale_shift: bool = False
    temporal: TemporalSpec | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.channels), len(self.attention_levels), len(self.num_heads)}
        if self.temporal is not None:
            lengths.add(len(self.temporal.num_heads))
        if len(lengths) > 1:
            raise ConfigError(
                "the levels of the network do not agree",
                got=f"{len(self.channels)} channels, {len(self.attention_levels)} attention_levels, "
                f"{len(self.num_heads)} numbers of heads",
                expected="one entry per level in each",
            )
        for channels, heads in zip(self.channels, self.num_heads, strict=True):
            _check_divisible(channels, heads, self.norm_num_groups)
        if self.temporal is not None:
            for channels, heads in zip(self.channels, self.temporal.num_heads, strict=True):
                _check_divisible(channels, heads, self.temporal.norm_num_groups)


def _check_divisible(channels: int, heads: int, groups: int) -> None:
    if channels % heads or channels % groups:
        raise ConfigError(
            "channels do not divide into heads and groups",
            got=f"{channels} channels, {heads} heads, {groups} groups",
            expected="a multiple of both",
        )


def per_level(value: int | Sequence[int], num_levels: int) -> tuple[int, ...]:
    """One number per level, from one per level or one for all."""
    return (value,) * num_levels if isinstance(value, int) else tuple(value)


def backbone_spec(config: UNetConfig) -> UNetSpec:
    """Sizes of an `EmoUNet`. Raises ConfigError for settings that contradict each other."""
    if config.audio_attention not in get_args(AudioAttention):
        raise ConfigError(
            "unknown audio attention",
            got=config.audio_attention,
            expected=" or ".join(get_args(AudioAttention)),
        )
    has_audio, text = config.audio_feature_dim is not None, config.audio_attention == "text"
    if has_audio and text and config.audio_feature_dim != config.cross_attention_dim:
        raise ConfigError(
            "the speech features do not fit text cross-attention",
            got=f"audio_feature_dim {config.audio_feature_dim}",
            expected=f"cross_attention_dim, which is {config.cross_attention_dim}",
        )
    if config.audio_gain != 1 and not text:
        raise ConfigError(
            "audio_gain needs audio in text cross-attention", fix='Set audio_attention to "text"'
        )
    num_levels = len(config.block_out_channels)
    temporal = TemporalSpec(
        num_heads=per_level(config.temporal_num_heads, num_levels),
        num_blocks=config.temporal_blocks,
        num_attentions=config.temporal_attentions,
        max_frames=config.max_frames,
        norm_num_groups=config.temporal_norm_num_groups or config.norm_num_groups,
        ff_mult=config.temporal_ff_mult,
        mid=config.temporal_mid,
        needs_attention=config.temporal_needs_attention,
        speed_dim=config.speed_dim,
    )
    return UNetSpec(
        channels=tuple(config.block_out_channels),
        attention_levels=tuple(config.attention_levels),
        num_heads=per_level(config.num_attention_heads, num_levels),
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        norm_eps=config.norm_eps,
        ff_mult=config.ff_mult,
        text_dim=config.cross_attention_dim,
        audio_dim=config.audio_dim if has_audio and config.audio_attention == "own" else None,
        region_audio_dim=config.audio_dim if has_audio and config.audio_attention == "regions" else None,
        text_gain=config.audio_gain if text else 1.0,
        time_scale_shift=config.time_scale_shift,
        temporal=temporal if config.temporal_modules else None,
    )
