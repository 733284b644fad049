"""The diffusion objective as small functions of a scheduler: training and sampling share one schedule."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from openemo.ddim_scheduler import DDIMScheduler, Scheduler
from openemo.errors import ConfigError
from openemo.training.recipes import MixedPrecision, PredictionType

__all__ = ["add_noise", "autocast", "make_scheduler", "sample_timesteps", "weighted_mse"]

_FLOW_SHIFT: Final = 3.0  # above 1: more steps at high noise (Esser et al. 2024)


def autocast(mixed_precision: MixedPrecision, device: torch.device | str) -> torch.autocast:
    """The context in which a stage runs its networks: products in bfloat16, weights and sums in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=mixed_precision == "bf16")


def make_scheduler(prediction_type: PredictionType, *, shift: float = _FLOW_SHIFT) -> Scheduler:
    """The schedule of a network without initial weights.

    Args:
        prediction_type: "flow_prediction" is flow matching: noise minus latents. "sample" is the latents,
            under SD-1.5's schedule with zero terminal SNR (Lin et al. 2024): audio and portrait determine
            most of them, so the network need not copy the noise.
        shift: of flow matching.
    """
    if prediction_type == "flow_prediction":
        from diffusers import FlowMatchEulerDiscreteScheduler

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


def sample_timesteps(
    scheduler: Any, batch: int, generator: torch.Generator, *, terminal_share: float = 0.0
) -> Tensor:
    """(B,) training timesteps, uniform over the schedule's own table.

    Args:
        terminal_share: part of them at the noisiest timestep, where only the conditions carry information.
            A sampler of one or two steps decides nearly everything there.
    """
    table = torch.as_tensor(
        scheduler.timesteps if _is_flow(scheduler) else torch.arange(scheduler.config.num_train_timesteps)
    )
    drawn = table[torch.randint(len(table), (batch,), generator=generator)]
    if not terminal_share:
        return drawn
    return torch.where(torch.rand(batch, generator=generator) < terminal_share, table.max(), drawn)


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
        "training does not know the scheduler's prediction type",
        got=kind,
        expected="epsilon, v_prediction or sample",
    )


def weighted_mse(
    prediction: Tensor, target: Tensor, weight: Tensor, *, temporal_change_weight: float = 0.0
) -> Tensor:
    """Mean of weight * error^2 over all elements. `weight` broadcasts; its mean is set to 1 per sample.

    Args:
        prediction, target: (B, C, F, H, W).
        temporal_change_weight: of the squared deviation of the error from its mean over the frames, which is
            added to the squared error.
    """
    weight = weight / weight.mean(dim=tuple(range(1, weight.ndim)), keepdim=True)
    error = prediction.float() - target.float()
    squared = error**2
    if temporal_change_weight:
        squared = squared + temporal_change_weight * (error - error.mean(2, keepdim=True)) ** 2
    return (weight * squared).mean()


def _is_flow(scheduler: Any) -> bool:
    return hasattr(scheduler, "scale_noise")
