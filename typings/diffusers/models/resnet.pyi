from torch import Tensor, nn

class ResnetBlock2D(nn.Module):
    norm1: nn.GroupNorm
    conv1: nn.Conv2d
    time_emb_proj: nn.Linear
    norm2: nn.GroupNorm
    conv2: nn.Conv2d
    conv_shortcut: nn.Conv2d | None
    time_embedding_norm: str

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int | None = None,
        conv_shortcut: bool = False,
        dropout: float = 0.0,
        temb_channels: int = 512,
        groups: int = 32,
        groups_out: int | None = None,
        pre_norm: bool = True,
        eps: float = 1e-6,
        non_linearity: str = "swish",
        skip_time_act: bool = False,
        time_embedding_norm: str = "default",
    ) -> None: ...
    def __call__(self, input_tensor: Tensor, temb: Tensor, /) -> Tensor: ...
