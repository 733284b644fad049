"""The diffusion objective as small functions of a scheduler: training and sampling share one schedule."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from openemo.errors import ConfigError
from openemo.training.recipe import Compute

__all__ = ["Target", "add_noise", "arithmetic", "draw_timesteps", "make_scheduler", "weighted_mse"]

Target = Literal["velocity", "sample"]


def arithmetic(compute: Compute, device: torch.device | str) -> torch.autocast:
    """The context in which a stage runs its networks: products in `compute`, weights and sums in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=compute == "bfloat16")


def make_scheduler(target: Target, shift: float) -> Any:
    """The schedule of a network that starts from nothing.

    Args:
        target: "velocity" is flow matching, noise less latents. "sample" is the latents themselves under
            SD-1.5's schedule with zero terminal SNR (Lin et al. 2024): where the sound and the portrait say
            nearly all, the network then need not copy the noise.
        shift: of flow matching: above 1, more steps at high noise.
    """
    if target == "velocity":
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


def draw_timesteps(
    scheduler: Any, batch: int, generator: torch.Generator, *, noisiest_share: float = 0.0
) -> Tensor:
    """(B,) training timesteps of the schedule, uniform over its own table.

    Args:
        noisiest_share: part of them that is the noisiest one instead, where only the conditions help. A
            sampler of one or two steps decides nearly everything there.
    """
    table = torch.as_tensor(
        scheduler.timesteps if _is_flow(scheduler) else torch.arange(scheduler.config.num_train_timesteps)
    )
    drawn = table[torch.randint(len(table), (batch,), generator=generator)]
    if not noisiest_share:
        return drawn
    return torch.where(torch.rand(batch, generator=generator) < noisiest_share, table.max(), drawn)


def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timesteps_B: Tensor) -> tuple[Tensor, Tensor]:
    """(noisy latents, what the network shall predict) in the scheduler's own parametrisation.

    Flow matching: x_t = (1 - s) x + s e, target e - x (Lipman et al. 2023). Otherwise
    x_t = sqrt(a) x + sqrt(1 - a) e with target e (EMO Eq. 1), v or x (Salimans and Ho 2022).
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
    if kind == "sample":
        return noisy, clean
    raise ConfigError(
        "the schedule predicts something training does not know",
        got=kind,
        expected="epsilon, v_prediction or sample",
    )


def weighted_mse(prediction: Tensor, target: Tensor, weight: Tensor, *, change_weight: float = 0.0) -> Tensor:
    """Mean of weight * error^2 over all elements; `weight` broadcasts, normalised to mean 1 per sample.

    Args:
        prediction, target: (B, C, F, H, W).
        change_weight: of the square of what the error differs from its mean over the frames, added to the
            whole one's.
    """
    weight = weight / weight.mean(dim=tuple(range(1, weight.ndim)), keepdim=True)
    error = prediction.float() - target.float()
    squared = error**2
    if change_weight:
        squared = squared + change_weight * (error - error.mean(2, keepdim=True)) ** 2
    return (weight * squared).mean()


def _is_flow(scheduler: Any) -> bool:
    return hasattr(scheduler, "scale_noise")
