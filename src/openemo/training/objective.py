"""The diffusion objective as small functions of a scheduler: training and sampling share one schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from openemo.errors import ConfigError

__all__ = ["add_noise", "draw_timesteps", "weighted_mse"]


def draw_timesteps(scheduler: Any, batch: int, generator: torch.Generator) -> Tensor:
    """(B,) training timesteps of the schedule, uniform over its own table."""
    table = scheduler.timesteps if _is_flow(scheduler) else torch.arange(scheduler.config.num_train_timesteps)
    return torch.as_tensor(table)[torch.randint(len(table), (batch,), generator=generator)]


def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timesteps_B: Tensor) -> tuple[Tensor, Tensor]:
    """(noisy latents, what the network shall predict) in the scheduler's own parametrisation.

    Flow matching: x_t = (1 - s) x + s e, target e - x (Lipman et al. 2023). Otherwise
    x_t = sqrt(a) x + sqrt(1 - a) e with target e (EMO Eq. 1) or v (Salimans and Ho 2022).
    """
    if _is_flow(scheduler):
        # Latents have up to five axes; the scheduler broadcasts over as many as it is given.
        return scheduler.scale_noise(clean, timesteps_B, noise), noise - clean
    noisy = scheduler.add_noise(clean, noise, timesteps_B)
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noisy, noise
    if kind == "v_prediction":
        return noisy, scheduler.get_velocity(clean, noise, timesteps_B)
    raise ConfigError(
        "the schedule predicts something training does not know", got=kind, expected="epsilon or v_prediction"
    )


def weighted_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean of weight * error^2 over all elements; `weight` broadcasts, normalised to mean 1 per sample."""
    weight = weight / weight.mean(dim=tuple(range(1, weight.ndim)), keepdim=True)
    return (weight * (prediction.float() - target.float()) ** 2).mean()


def _is_flow(scheduler: Any) -> bool:
    return hasattr(scheduler, "scale_noise")
