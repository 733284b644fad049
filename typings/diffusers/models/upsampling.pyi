from torch import Tensor, nn

class Upsample2D(nn.Module):
    conv: nn.Conv2d

    def __init__(
        self,
        channels: int,
        use_conv: bool = False,
        use_conv_transpose: bool = False,
        out_channels: int | None = None,
        name: str = "conv",
    ) -> None: ...
    def __call__(self, hidden_states: Tensor, output_size: int | None = None) -> Tensor: ...
