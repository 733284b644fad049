from torch import Tensor, nn

class Downsample2D(nn.Module):
    conv: nn.Conv2d

    def __init__(
        self,
        channels: int,
        use_conv: bool = False,
        out_channels: int | None = None,
        padding: int = 1,
        name: str = "conv",
    ) -> None: ...
    def __call__(self, hidden_states: Tensor) -> Tensor: ...
