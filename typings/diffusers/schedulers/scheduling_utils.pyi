from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from diffusers.configuration_utils import ConfigMixin
from torch import Tensor

class SchedulerOutput(NamedTuple):
    prev_sample: Tensor
    pred_original_sample: Tensor

# At run time only the files are the base class's; the rest is what all of its schedulers have in common.
class SchedulerMixin(ConfigMixin):
    timesteps: Tensor

    def __init__(self, num_train_timesteps: int = 1000, **settings: Any) -> None: ...
    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None: ...
    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, **options: Any
    ) -> SchedulerOutput: ...
    def save_pretrained(self, save_directory: str | Path) -> None: ...
    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path) -> Self: ...
