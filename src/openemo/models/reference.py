"""ReferenceNet: one look at the person, features for every layer of the backbone (EMO 3.2).

Shape letters: B clips, n motion frames, N = 1 + n pictures, M = H*W tokens of a layer, C its channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models.blocks import Layer, build_u, run_layer, upsample
from openemo.models.conditioning import Conditions, fold
from openemo.models.spec import USpec, per_level

__all__ = ["ReferenceFeatures", "ReferenceNet"]


@dataclass(frozen=True, slots=True)
class ReferenceFeatures:
    """What the ReferenceNet hands to the backbone, in the order in which the backbone's layers run.

    Args:
        attention: for each spatial transformer, the reference image's tokens after norm1, (B, M, C); or ()
            for none.
        motion: for each temporal module, the motion frames' feature maps at its place, (B, C, n, H, W); or
            () for none.
        rows: for each frame of the backbone's batch, frame fastest, the row of `attention` that it sees;
            None is the row of its own clip.
    """

    attention: tuple[Tensor, ...] = ()
    motion: tuple[Tensor, ...] = ()
    rows: tuple[int, ...] | None = None

    @classmethod
    def empty(cls) -> ReferenceFeatures:
        """No reference, no motion frames: plain self-attention, and temporal modules see the video only."""
        return cls()

    @property
    def num_motion_frames(self) -> int:
        return self.motion[0].shape[2] if self.motion else 0

    def per_layer(self, layers: Sequence[Layer]) -> Iterator[tuple[Tensor | None, Tensor | None]]:
        """Each layer's reference tokens and motion feature map, in order of running; None where absent.

        Raises:
            ConfigError: not as many as the layers have places for.
        """
        num_attentions = sum(layer.attention is not None for layer in layers)
        num_modules = sum(layer.motion_module is not None for layer in layers)
        got = (len(self.attention), len(self.motion))
        if got[0] not in (0, num_attentions) or got[1] not in (0, num_modules):
            raise ConfigError(
                "the reference features are of another network",
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
        """`rows` beside `like`, which has one entry per frame. Raises ConfigError if they are not as many."""
        if self.rows is None:
            return None
        if len(self.rows) != len(like):
            raise ConfigError(
                "the reference features are for another number of frames",
                got=len(self.rows),
                expected=str(len(like)),
            )
        return torch.tensor(self.rows, device=like.device)

    def repeat(self, times: int) -> ReferenceFeatures:
        """The batch `times` times over, [b0, b1, b0, b1, ...], as `torch.cat([sample] * times)` does it."""
        repeated = self._map(lambda feature: torch.cat([feature] * times))
        if self.rows is None or not self.attention:
            return repeated
        one = len(self.attention[0])
        return replace(repeated, rows=tuple(row + i * one for i in range(times) for row in self.rows))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ReferenceFeatures:
        return self._map(lambda feature: feature.to(device=device, dtype=dtype))

    def without_motion(self) -> ReferenceFeatures:
        return replace(self, motion=())

    def without_reference(self) -> ReferenceFeatures:
        return replace(self, attention=(), rows=None)

    def _map(self, function: Callable[[Tensor], Tensor]) -> ReferenceFeatures:
        return replace(
            self, attention=tuple(map(function, self.attention)), motion=tuple(map(function, self.motion))
        )


class ReferenceNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The backbone's shape without audio, temporal modules, time (timestep 0 always) and output head.

    It runs once per clip; its features serve every denoising step. Its keys are a subset of SD-1.5's, so
    SD-1.5's weights fit. Arguments as in `EmoUNet`; `in_channels` may differ from the backbone's.

    Args:
        temporal_mid: the backbone has a temporal module in its middle, which then gets a feature map too.
        motion_features: what a temporal module gets of the motion frames: "output" is the feature map at its
            own place; "attention" the tokens after norm1 of the spatial transformer before it, and nothing
            where there is none (Hallo: the same features as for reference attention).
        tile_text: how text of a batch of clips meets their pictures, which lie clip after clip. False: each
            picture reads its clip's. True: the clips' texts take turns over all pictures (Hallo, whose two
            clips are the halves of guidance).
    """

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
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
        motion_features: Literal["output", "attention"] = "output",
        tile_text: bool = False,
    ) -> None:
        super().__init__()
        if motion_features not in ("output", "attention"):
            raise ConfigError("unknown motion features", got=motion_features, expected="output or attention")
        channels = tuple(block_out_channels)
        spec = USpec(
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
        self.time_proj = Timesteps(channels[0], flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(channels[0], 4 * channels[0])
        self.down_blocks, self.mid_block, self.up_blocks = build_u(spec)
        self.gradient_checkpointing = False

    def forward(
        self, sample_BCNHW: Tensor, *, encoder_hidden_states: Tensor | None = None
    ) -> ReferenceFeatures:
        """Read the reference image and the motion frames.

        Args:
            sample_BCNHW: (B, in_channels, 1+n, H, W): the reference first, then the motion frames, oldest
                first.
            encoder_hidden_states: (B, L, cross_attention_dim), text for SD-1.5's own slot; EMO has none.
        """
        batch, _, pictures = sample_BCNHW.shape[:3]
        hidden = self.conv_in(fold(sample_BCNHW))
        time_embedding = self.time_embedding(self.time_proj(hidden.new_zeros(1)).to(hidden.dtype))
        text = encoder_hidden_states
        if text is not None:
            tile = self.config.tile_text
            text = text.repeat(pictures, 1, 1) if tile else text.repeat_interleave(pictures, 0)
        conditions = Conditions(pictures, F.silu(time_embedding).expand(len(hidden), -1), text)
        tokens: list[Tensor] = []
        maps: list[Tensor] = []
        skips = [hidden]

        def step(layer: Layer, hidden: Tensor, has_temporal_module: bool = True) -> Tensor:
            hidden, normed = run_layer(self, layer, hidden, conditions)
            if normed is not None:
                tokens.append(torch.unflatten(normed, 0, (batch, pictures))[:, 0])
            passed_on: Tensor | None = hidden
            if self.config.motion_features == "attention":
                passed_on = None if normed is None else _as_map(normed, hidden)
            if has_temporal_module and pictures > 1 and passed_on is not None:
                maps.append(torch.unflatten(passed_on, 0, (batch, pictures))[:, 1:].transpose(1, 2))
            return hidden

        for stage in self.down_blocks:
            for layer in stage.layers():
                hidden = step(layer, hidden)
                skips.append(hidden)
            if stage.downsamplers is not None:
                hidden = stage.downsamplers[0](hidden)
                skips.append(hidden)
        for layer in self.mid_block.layers():
            at_temporal_module = layer.attention is not None and self.config.temporal_mid
            hidden = step(layer, hidden, at_temporal_module)
        for stage in self.up_blocks:
            for layer in stage.layers():
                hidden = step(layer, torch.cat([hidden, skips.pop()], dim=1))
            if stage.upsamplers is not None:
                hidden = upsample(stage.upsamplers, hidden, skips[-1].shape[-2:])
        return ReferenceFeatures(tuple(tokens), tuple(maps))


def _as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(BN, M, C) -> (BN, C, H, W)."""
    return torch.unflatten(tokens, 1, like.shape[-2:]).permute(0, 3, 1, 2)
