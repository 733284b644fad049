from typing import NamedTuple

from diffusers.configuration_utils import ConfigMixin
from diffusers.models.autoencoders.vae import Decoder, DiagonalGaussianDistribution, Encoder
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

class _Encoded(NamedTuple):
    latent_dist: DiagonalGaussianDistribution

class _Decoded(NamedTuple):
    sample: Tensor

class AutoencoderKL(ModelMixin, ConfigMixin):
    encoder: Encoder
    decoder: Decoder
    quant_conv: nn.Conv2d
    post_quant_conv: nn.Conv2d

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: tuple[str, ...] = ...,
        up_block_types: tuple[str, ...] = ...,
        block_out_channels: tuple[int, ...] = ...,
        layers_per_block: int = 1,
        act_fn: str = "silu",
        latent_channels: int = 4,
        norm_num_groups: int = 32,
        sample_size: int = 32,
        scaling_factor: float = 0.18215,
        force_upcast: bool = True,
        mid_block_add_attention: bool = True,
    ) -> None: ...
    def encode(self, x: Tensor) -> _Encoded: ...
    def decode(self, z: Tensor) -> _Decoded: ...
