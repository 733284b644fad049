from typing import Any

from torch import Tensor

State = dict[str, Tensor]

def convert_ldm_unet_checkpoint(
    checkpoint: dict[str, Tensor], config: dict[str, Any]
) -> dict[str, Tensor]: ...
def convert_ldm_vae_checkpoint(
    checkpoint: dict[str, Tensor], config: dict[str, Any]
) -> dict[str, Tensor]: ...
def convert_animatediff_checkpoint_to_diffusers(checkpoint: State) -> State: ...
