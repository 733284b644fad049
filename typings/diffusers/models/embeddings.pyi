from torch import Tensor, nn

class Timesteps(nn.Module):
    def __init__(
        self, num_channels: int, flip_sin_to_cos: bool, downscale_freq_shift: float, scale: int = 1
    ) -> None: ...
    def __call__(self, timesteps: Tensor) -> Tensor: ...

class TimestepEmbedding(nn.Module):
    linear_1: nn.Linear
    act: nn.Module
    linear_2: nn.Linear

    def __init__(self, in_channels: int, time_embed_dim: int, act_fn: str = "silu") -> None: ...
    def __call__(self, sample: Tensor) -> Tensor: ...

class SinusoidalPositionalEmbedding(nn.Module):
    pe: Tensor

    def __init__(self, embed_dim: int, max_seq_length: int = 32) -> None: ...
    def __call__(self, x: Tensor) -> Tensor: ...
