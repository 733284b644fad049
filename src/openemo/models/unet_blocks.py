"""UNet blocks: ResNet blocks, spatial transformers and temporal modules under SD-1.5's names.

A block only holds modules. `EmoUNet.forward` and `ReferenceNet.forward` call them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from openemo.models.attention import SpatialTransformer
from openemo.models.conditioning import Conditions, modulate
from openemo.models.layers import Downsample2D, Upsample2D
from openemo.models.network import Network
from openemo.models.region_audio import RegionAudioTransformer
from openemo.models.temporal import TemporalModule
from openemo.models.unet_spec import TemporalSpec, UNetSpec

__all__ = ["Layer", "ResnetBlock", "UNetBlock", "UNetBlocks", "build_unet", "run_layer"]


class ResnetBlock(nn.Module):
    """SD-1.5's ResNet block.

    Args:
        scale_shift: the embedding scales and shifts the second norm; otherwise it is added before it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        embed_dim: int,
        norm_num_groups: int,
        norm_eps: float,
        scale_shift: bool,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.norm1 = nn.GroupNorm(norm_num_groups, in_channels, eps=norm_eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(embed_dim, (1 + scale_shift) * out_channels)
        self.norm2 = nn.GroupNorm(norm_num_groups, out_channels, eps=norm_eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, hidden: Tensor, time_embedding: Tensor) -> Tensor:
        """hidden (BF, C_in, H, W), time_embedding (BF, E) after its activation -> (BF, C_out, H, W)."""
        residual: Tensor = self.conv1(F.silu(self.norm1(hidden)))
        embedding = self.time_emb_proj(time_embedding)
        if self.scale_shift:
            residual = modulate(self.norm2(residual), embedding)
        else:
            residual = self.norm2(residual + embedding[:, :, None, None])
        residual = self.conv2(F.silu(residual))
        shortcut: Tensor = hidden if self.conv_shortcut is None else self.conv_shortcut(hidden)
        return shortcut + residual

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


class Layer(NamedTuple):
    """A ResNet block, then a spatial transformer, a region audio module and a temporal module, if any."""

    resnet: ResnetBlock
    attention: SpatialTransformer | None
    audio_module: RegionAudioTransformer | None
    motion_module: TemporalModule | None

    def __call__(
        self,
        hidden: Tensor,
        conditions: Conditions,
        reference: Tensor | None = None,
        motion: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """hidden (BF, C, H, W), reference (B, M, C), motion (B, C, n, H, W) -> hidden, tokens (BF, HW, C)."""
        tokens: Tensor | None = None
        hidden = self.resnet(hidden, conditions.time_embedding)
        if self.attention is not None:
            hidden, tokens = self.attention(hidden, conditions, reference)
        if self.audio_module is not None and conditions.audio is not None:
            hidden = self.audio_module(hidden, conditions)
        if self.motion_module is not None and conditions.is_clip:
            hidden = self.motion_module(hidden, conditions, motion)
        return hidden, tokens


class UNetBlock(nn.Module):
    """A down, mid or up block of the UNet, with the module names of SD-1.5 and AnimateDiff.

    Args:
        spec: sizes of the whole UNet.
        level: index into the spec's sequences.
        in_channels: of each ResNet block, in order.
        num_attentions: number of spatial transformers; they follow the first ResNet blocks.
        num_motion_modules: number of temporal modules; they too follow the first ResNet blocks.
        audio_widths: inner width of the region audio module after each spatial transformer.
        resample: "down" or "up" adds a convolution at the end that changes the resolution.
    """

    def __init__(
        self,
        spec: UNetSpec,
        level: int,
        in_channels: Sequence[int],
        *,
        num_attentions: int,
        num_motion_modules: int,
        audio_widths: Sequence[int],
        resample: str | None = None,
    ) -> None:
        super().__init__()
        channels = spec.channels[level]
        self.resnets = nn.ModuleList(
            ResnetBlock(
                before,
                channels,
                embed_dim=4 * spec.channels[0],
                norm_num_groups=spec.norm_num_groups,
                norm_eps=spec.norm_eps,
                scale_shift=spec.time_scale_shift,
            )
            for before in in_channels
        )
        self.attentions = nn.ModuleList(
            SpatialTransformer(
                channels,
                spec.num_heads[level],
                spec.norm_num_groups,
                spec.ff_mult,
                spec.text_dim,
                spec.audio_dim,
                spec.text_gain,
            )
            for _ in range(num_attentions)
        )
        self.audio_modules = nn.ModuleList(
            RegionAudioTransformer(
                channels,
                width,
                spec.region_audio_dim,
                level=level,
                num_heads=spec.num_heads[level],
                norm_num_groups=spec.norm_num_groups,
                ff_mult=spec.ff_mult,
            )
            for width in audio_widths[:num_attentions]
            if spec.region_audio_dim is not None
        )
        self.motion_modules = nn.ModuleList(
            _motion_module(spec.temporal, spec, level) for _ in range(num_motion_modules) if spec.temporal
        )
        self.runs_motion_modules = spec.temporal is not None and (
            num_attentions > 0 or not spec.temporal.needs_attention
        )
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None
        if resample == "down":
            self.downsamplers = nn.ModuleList([Downsample2D(channels)])
        elif resample == "up":
            self.upsamplers = nn.ModuleList([Upsample2D(channels)])

    def layers(self) -> Iterator[Layer]:
        """The layers of this block, in the order in which they run."""
        motion_modules = self.motion_modules if self.runs_motion_modules else ()
        modules = zip_longest(self.resnets, self.attentions, self.audio_modules, motion_modules)
        return starmap(Layer, cast("Iterator[tuple[Any, Any, Any, Any]]", modules))


def _motion_module(temporal: TemporalSpec, spec: UNetSpec, level: int) -> TemporalModule:
    return TemporalModule(
        spec.channels[level],
        num_heads=temporal.num_heads[level],
        num_blocks=temporal.num_blocks,
        num_attentions=temporal.num_attentions,
        max_frames=temporal.max_frames,
        norm_num_groups=temporal.norm_num_groups,
        ff_mult=temporal.ff_mult,
        speed_dim=temporal.speed_dim,
    )


def build_unet(spec: UNetSpec) -> tuple[UNetBlocks, UNetBlock, UNetBlocks]:
    """Down blocks, mid block and up blocks (coarsest first).

    The inner widths of region audio modules are Hallo's: in down blocks the input channels of the layer, in
    up blocks the channels of the next finer level.
    """
    last = len(spec.channels) - 1
    layers = spec.layers_per_block
    temporal = spec.temporal is not None
    current = spec.channels[0]
    skips = [current]
    down, up = UNetBlocks(), UNetBlocks()
    for level, channels in enumerate(spec.channels):
        in_channels = [current] + [channels] * (layers - 1)
        current = channels
        skips += [channels] * (layers + (level < last))
        down.append(
            UNetBlock(
                spec,
                level,
                in_channels,
                num_attentions=layers * spec.attention_levels[level],
                num_motion_modules=layers * temporal,
                audio_widths=in_channels,
                resample="down" if level < last else None,
            )
        )
    mid_motion = int(spec.temporal is not None and spec.temporal.mid)
    mid = UNetBlock(
        spec,
        last,
        [current] * 2,
        num_attentions=1,
        num_motion_modules=mid_motion,
        audio_widths=[current],
    )
    for level in range(last, -1, -1):
        channels = spec.channels[level]
        in_channels = [before + skips.pop() for before in [current] + [channels] * layers]
        current = channels
        up.append(
            UNetBlock(
                spec,
                level,
                in_channels,
                num_attentions=(layers + 1) * spec.attention_levels[level],
                num_motion_modules=(layers + 1) * temporal,
                audio_widths=[spec.channels[max(level - 1, 0)]] * (layers + 1),
                resample="up" if level > 0 else None,
            )
        )
    return down, mid, up


class UNetBlocks(nn.ModuleList):
    """A ModuleList of `UNetBlock`s, typed."""

    def __iter__(self) -> Iterator[UNetBlock]:
        return cast("Iterator[UNetBlock]", super().__iter__())


def run_layer(
    network: Network,
    layer: Layer,
    hidden: Tensor,
    conditions: Conditions,
    reference: Tensor | None = None,
    motion: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Call a layer, with gradient checkpointing if it is enabled for the network."""
    inputs = (hidden, conditions, reference, motion)
    result: tuple[Tensor, Tensor | None] = network.checkpointed(layer.__call__, *inputs)
    return result
