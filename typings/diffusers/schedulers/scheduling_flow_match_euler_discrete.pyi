from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

class FlowMatchEulerDiscreteScheduler(SchedulerMixin):
    sigmas: Tensor

    def __init__(self, num_train_timesteps: int = 1000, shift: float = 1.0) -> None: ...
    def scale_noise(self, sample: Tensor, timestep: Tensor, noise: Tensor) -> Tensor: ...
