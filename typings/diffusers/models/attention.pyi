from torch import Tensor, nn

class FeedForward(nn.Module):
    def __init__(
        self,
        dim: int,
        dim_out: int | None = None,
        mult: int = 4,
        dropout: float = 0.0,
        activation_fn: str = "geglu",
    ) -> None: ...
    def __call__(self, hidden_states: Tensor) -> Tensor: ...
