import torch
from torch import Tensor, nn

class Encoder(nn.Module):
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        down_block_types: tuple[str, ...] = ...,
        block_out_channels: tuple[int, ...] = ...,
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        act_fn: str = "silu",
        double_z: bool = True,
        mid_block_add_attention: bool = True,
    ) -> None: ...
    def __call__(self, sample: Tensor) -> Tensor: ...

class Decoder(nn.Module):
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        up_block_types: tuple[str, ...] = ...,
        block_out_channels: tuple[int, ...] = ...,
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        act_fn: str = "silu",
        norm_type: str = "group",
        mid_block_add_attention: bool = True,
    ) -> None: ...
    def __call__(self, sample: Tensor) -> Tensor: ...

class DiagonalGaussianDistribution:
    mean: Tensor
    logvar: Tensor
    std: Tensor
    var: Tensor

    def __init__(self, parameters: Tensor, deterministic: bool = False) -> None: ...
    def sample(self, generator: torch.Generator | None = None) -> Tensor: ...
    def kl(self, other: DiagonalGaussianDistribution | None = None) -> Tensor: ...
    def mode(self) -> Tensor: ...
