"""ReferenceNet: features of the reference image and the motion frames for every UNet layer (EMO 3.2).

Shape letters: B clips, n motion frames, N = 1 + n images, M = H*W tokens of a layer, C its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.conditioning import Conditions, fold
from openemo.models.layers import TimestepEmbedding, Timesteps
from openemo.models.network import Network
from openemo.models.unet_blocks import Layer, build_unet, run_layer
from openemo.models.unet_spec import UNetSpec, per_level
from openemo.network_settings import register_to_config

__all__ = ["ReferenceFeatures", "ReferenceNet", "ReferenceNetConfig"]

MotionFeatures = Literal["output", "attention"]


class ReferenceNetConfig(Protocol):
    """What `ReferenceNet.config` holds: the arguments of its constructor, which documents them."""

    in_channels: int
    block_out_channels: Sequence[int]
    attention_levels: Sequence[bool]
    layers_per_block: int
    num_attention_heads: int | Sequence[int]
    norm_num_groups: int
    norm_eps: float
    ff_mult: int
    cross_attention_dim: int | None
    temporal_mid: bool
    motion_features: MotionFeatures
    tile_text: bool


@dataclass(frozen=True, slots=True)
class ReferenceFeatures:
    """Output of the ReferenceNet, in the order in which the UNet's layers run.

    Without any features, self-attention is plain and temporal modules attend to the video frames only.

    Args:
        attention: for each spatial transformer, the tokens of the reference image after norm1, (B, M, C); or
            () for none.
        motion: for each temporal module, the feature maps of the motion frames, (B, C, n, H, W); or () for
            none.
        rows: for each frame of the UNet's batch, frame fastest, its row of `attention`; None is the row of
            the frame's clip.
    """

    attention: tuple[Tensor, ...] = ()
    motion: tuple[Tensor, ...] = ()
    rows: tuple[int, ...] | None = None

    @property
    def num_motion_frames(self) -> int:
        return self.motion[0].shape[2] if self.motion else 0

    def per_layer(self, layers: Sequence[Layer]) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Reference tokens and motion feature maps for each layer; None where absent.

        Raises:
            ConfigError: the number of features does not match the layers.
        """
        num_attentions = sum(layer.attention is not None for layer in layers)
        num_modules = sum(layer.motion_module is not None for layer in layers)
        got = (len(self.attention), len(self.motion))
        if got[0] not in (0, num_attentions) or got[1] not in (0, num_modules):
            raise ConfigError(
                "the reference features are from another network",
                got=f"{got[0]} token maps and {got[1]} motion maps",
                expected=f"{num_attentions} and {num_modules}",
            )
        tokens, maps = iter(self.attention), iter(self.motion)
        return iter(
            [
                (
                    next(tokens, None) if layer.attention is not None else None,
                    next(maps, None) if layer.motion_module is not None else None,
                )
                for layer in layers
            ]
        )

    def frame_rows(self, like: Tensor) -> Tensor | None:
        """`rows` on the device of `like`, which has one entry per frame. ConfigError if they differ."""
        if self.rows is None:
            return None
        if len(self.rows) != len(like):
            raise ConfigError(
                "the reference features are for another number of frames",
                got=len(self.rows),
                expected=str(len(like)),
            )
        return torch.tensor(self.rows, device=like.device)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ReferenceFeatures:
        return self._map(lambda feature: feature.to(device=device, dtype=dtype))

    def without_reference(self) -> ReferenceFeatures:
        return replace(self, attention=(), rows=None)

    def _map(self, function: Callable[[Tensor], Tensor]) -> ReferenceFeatures:
        return replace(
            self, attention=tuple(map(function, self.attention)), motion=tuple(map(function, self.motion))
        )


class ReferenceNet(Network):
    """SD-1.5 UNet without the output head, at timestep 0, that returns features instead of a prediction.

    It has the size of the denoising UNet, but no audio layers and no temporal modules. It runs once per clip;
    every denoising step uses its features. Its keys are a subset of SD-1.5's, so SD-1.5's weights fit.
    Arguments as in `EmoUNet`; `in_channels` may differ.

    Args:
        temporal_mid: the UNet has a temporal module in its mid block, which then gets a feature map too.
        motion_features: what temporal modules get of the motion frames. "output": the feature maps of the
            layer. "attention": the tokens after norm1 of the layer's spatial transformer, and nothing in
            layers without one (Hallo, whose temporal modules read the features of reference attention).
        tile_text: how the text of a batch of clips is assigned to their images, which are ordered clip by
            clip. False: each image gets the text of its clip. True: the texts alternate over all images
            (Hallo, whose two clips are the halves of classifier-free guidance).
    """

    config: ReferenceNetConfig

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        attention_levels: Sequence[bool] = (True, True, True, False),
        layers_per_block: int = 2,
        num_attention_heads: int | Sequence[int] = 8,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        ff_mult: int = 4,
        cross_attention_dim: int | None = 768,
        temporal_mid: bool = True,
        motion_features: MotionFeatures = "output",
        tile_text: bool = False,
    ) -> None:
        super().__init__()
        if motion_features not in ("output", "attention"):
            raise ConfigError("unknown motion features", got=motion_features, expected="output or attention")
        channels = tuple(block_out_channels)
        spec = UNetSpec(
            channels=channels,
            attention_levels=tuple(attention_levels),
            num_heads=per_level(num_attention_heads, len(channels)),
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            norm_eps=norm_eps,
            ff_mult=ff_mult,
            text_dim=cross_attention_dim,
        )
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.time_proj = Timesteps(channels[0])
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0])
        self.down_blocks, self.mid_block, self.up_blocks = build_unet(spec)

    def forward(
        self, sample_BCNHW: Tensor, *, encoder_hidden_states: Tensor | None = None
    ) -> ReferenceFeatures:
        """Compute the features of the reference image and the motion frames.

        Args:
            sample_BCNHW: (B, in_channels, 1+n, H, W): the reference image, then the motion frames, oldest
                first.
            encoder_hidden_states: (B, L, cross_attention_dim), tokens for text cross-attention; EMO has none.
        """
        batch, _, images = sample_BCNHW.shape[:3]
        hidden = self.conv_in(fold(sample_BCNHW))
        time_embedding = self.time_embedding(self.time_proj(hidden.new_zeros(1)).to(hidden.dtype))
        text = encoder_hidden_states
        if text is not None:
            tile = self.config.tile_text
            text = text.repeat(images, 1, 1) if tile else text.repeat_interleave(images, 0)
        conditions = Conditions(images, F.silu(time_embedding).expand(len(hidden), -1), text)
        tokens: list[Tensor] = []
        maps: list[Tensor] = []
        skips = [hidden]

        def run(layer: Layer, hidden: Tensor, has_temporal_module: bool = True) -> Tensor:
            hidden, normed = run_layer(self, layer, hidden, conditions)
            if normed is not None:
                tokens.append(torch.unflatten(normed, 0, (batch, images))[:, 0])
            features: Tensor | None = hidden
            if self.config.motion_features == "attention":
                features = None if normed is None else _as_map(normed, hidden)
            if has_temporal_module and images > 1 and features is not None:
                maps.append(torch.unflatten(features, 0, (batch, images))[:, 1:].transpose(1, 2))
            return hidden

        for block in self.down_blocks:
            for layer in block.layers():
                hidden = run(layer, hidden)
                skips.append(hidden)
            if block.downsamplers is not None:
                hidden = block.downsamplers[0](hidden)
                skips.append(hidden)
        for layer in self.mid_block.layers():
            has_temporal_module = layer.attention is not None and self.config.temporal_mid
            hidden = run(layer, hidden, has_temporal_module)
        for block in self.up_blocks:
            for layer in block.layers():
                hidden = run(layer, torch.cat([hidden, skips.pop()], dim=1))
            if block.upsamplers is not None:
                hidden = block.upsamplers[0](hidden, skips[-1].shape[-2:])
        return ReferenceFeatures(tuple(tokens), tuple(maps))

    if TYPE_CHECKING:  # the call of nn.Module has no types
        __call__ = forward


def _as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(BN, M, C) -> (BN, C, H, W)."""
    return torch.unflatten(tokens, 1, like.shape[-2:]).permute(0, 3, 1, 2)
