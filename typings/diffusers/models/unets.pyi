from typing import NamedTuple

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

class _Predicted(NamedTuple):
    sample: Tensor

class UNet2DConditionModel(ModelMixin, ConfigMixin):
    def __init__(
        self,
        sample_size: int | tuple[int, int] | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        *,
        down_block_types: tuple[str, ...] = ...,
        up_block_types: tuple[str, ...] = ...,
        block_out_channels: tuple[int, ...] = ...,
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 1280,
        attention_head_dim: int | tuple[int, ...] = 8,
    ) -> None: ...
    def __call__(
        self, sample: Tensor, timestep: Tensor | float, encoder_hidden_states: Tensor
    ) -> _Predicted: ...

class UNetMotionModel(ModelMixin, ConfigMixin):
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 4,
        out_channels: int = 4,
        *,
        down_block_types: tuple[str, ...] = ...,
        up_block_types: tuple[str, ...] = ...,
        block_out_channels: tuple[int, ...] = ...,
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 1280,
        num_attention_heads: int | tuple[int, ...] = 8,
        motion_max_seq_length: int = 32,
        motion_num_attention_heads: int | tuple[int, ...] = 8,
        use_motion_mid_block: bool = True,
    ) -> None: ...
    def __call__(
        self, sample: Tensor, timestep: Tensor | float, encoder_hidden_states: Tensor
    ) -> _Predicted: ...
