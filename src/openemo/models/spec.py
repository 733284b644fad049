"""The shape of a U: what its stages are built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from openemo.errors import ConfigError

__all__ = ["AudioAttention", "TemporalSpec", "USpec", "backbone_spec", "per_level"]

AudioAttention = Literal["own", "text", "regions"]


@dataclass(frozen=True, slots=True)
class TemporalSpec:
    """Shape of all temporal modules.

    Args:
        mid: also one in the middle of the U (AnimateDiff v2).
        needs_attention: those of levels without spatial attention hold weights, but do not run (Hallo).
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
class USpec:
    """Shape of a U. Sequences have one entry per level, the finest first.

    Args:
        text_dim: width of the tokens in SD-1.5's text slot, whatever they say.
        audio_dim: of the tokens of the audio attention in each spatial transformer.
        region_audio_dim: of the tokens of the audio modules that follow the spatial transformers.
        text_gain: factor on what the text slot adds.
        time_scale_shift: the embedding scales and shifts the second norm of each ResNet block, instead of
            being added before it (adaptive group normalization, Dhariwal and Nichol 2021).
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
            _divides(channels, heads, self.norm_num_groups)
        if self.temporal is not None:
            for channels, heads in zip(self.channels, self.temporal.num_heads, strict=True):
                _divides(channels, heads, self.temporal.norm_num_groups)


def _divides(channels: int, heads: int, groups: int) -> None:
    if channels % heads or channels % groups:
        raise ConfigError(
            "channels do not divide into heads and groups",
            got=f"{channels} channels, {heads} heads, {groups} groups",
            expected="a multiple of both",
        )


def per_level(value: int | Sequence[int], num_levels: int) -> tuple[int, ...]:
    """One number for all levels, or one for each, as one for each."""
    return (value,) * num_levels if isinstance(value, int) else tuple(value)


def backbone_spec(config: Any) -> USpec:
    """The shape of the U in the settings of an `EmoUNet`. Raises ConfigError where they contradict."""
    if config.audio_attention not in get_args(AudioAttention):
        raise ConfigError(
            "unknown audio attention",
            got=config.audio_attention,
            expected=" or ".join(get_args(AudioAttention)),
        )
    heard, text = config.audio_feature_dim is not None, config.audio_attention == "text"
    if heard and text and config.audio_feature_dim != config.cross_attention_dim:
        raise ConfigError(
            "the sound does not fit the text slot",
            got=f"audio_feature_dim {config.audio_feature_dim}",
            expected=f"cross_attention_dim, which is {config.cross_attention_dim}",
        )
    if config.audio_gain != 1 and not text:
        raise ConfigError("audio_gain is of the text slot", fix='Set audio_attention to "text"')
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
    return USpec(
        channels=tuple(config.block_out_channels),
        attention_levels=tuple(config.attention_levels),
        num_heads=per_level(config.num_attention_heads, num_levels),
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        norm_eps=config.norm_eps,
        ff_mult=config.ff_mult,
        text_dim=config.cross_attention_dim,
        audio_dim=config.audio_dim if heard and config.audio_attention == "own" else None,
        region_audio_dim=config.audio_dim if heard and config.audio_attention == "regions" else None,
        text_gain=config.audio_gain if text else 1.0,
        time_scale_shift=config.time_scale_shift,
        temporal=temporal if config.temporal_modules else None,
    )
