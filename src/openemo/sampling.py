"""From noise to the latents of one clip: a schedule of diffusers, and guidance over the sound."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["sample_clip"]


@torch.no_grad()
def sample_clip(
    unet: Any,
    scheduler: Any,
    noise_BCFHW: Tensor,
    *,
    audio_BFTD: Tensor,
    num_steps: int,
    guidance_scale: float = 1.0,
    generator: torch.Generator | None = None,
    on_step: Callable[[], None] = lambda: None,
    **conditions: Any,
) -> Tensor:
    """Denoised latents (B, C, F, H, W), float32; the network runs where and as `audio_BFTD` is.

    Args:
        unet: called as unet(sample, timestep_B, audio_BFTD=..., **conditions).
        scheduler: any of diffusers' with `set_timesteps` and `step`. It is copied, for it counts its steps.
        noise_BCFHW: standard normal.
        guidance_scale: 1 is none. Otherwise each step also runs on silence (zeros), and goes from there
            `guidance_scale` times as far as the sound says.
        generator: for schedules that add noise at each step.
    """
    device, dtype = audio_BFTD.device, audio_BFTD.dtype
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_steps, device=device)
    options: dict[str, Any] = {"return_dict": False}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = generator
    silence_BFTD = torch.zeros_like(audio_BFTD)
    latents = noise_BCFHW.to(device, torch.float32) * getattr(scheduler, "init_noise_sigma", 1.0)
    for timestep in scheduler.timesteps:
        scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
        sample, timestep_B = scale(latents, timestep).to(dtype), timestep.expand(latents.shape[0])
        prediction = unet(sample, timestep_B, audio_BFTD=audio_BFTD, **conditions)
        if guidance_scale != 1:
            unheard = unet(sample, timestep_B, audio_BFTD=silence_BFTD, **conditions)
            prediction = unheard + guidance_scale * (prediction - unheard)
        latents = scheduler.step(prediction.float(), timestep, latents, **options)[0]
        on_step()
    return latents
