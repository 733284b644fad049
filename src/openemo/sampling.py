"""From noise to the latents of one clip: a schedule of diffusers, guidance, and windows over long clips."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Windows", "sample_clip"]

# Conditions with a frame axis, the second: a window gets its own part of them.
_BY_FRAME = ("audio_BFTD", "audio_tokens_BFTA", "speed_BF", "gestures_BFG")


@dataclass(frozen=True, slots=True)
class Windows:
    """A clip that is longer than the network's own is denoised in windows, whose predictions are averaged.

    The windows close to a loop: the last ones go on with the first frames (EchoMimic). From step to step they
    move on, so that their joints lie elsewhere; a clip that fits one window is turned too.

    Attributes:
        frames: of one window.
        overlap: frames that neighbours share, fewer than `frames`.
        shift: frames that all windows move on at each step.
    """

    frames: int
    overlap: int
    shift: int = 2

    def starts(self, num_frames: int) -> range:
        if num_frames <= self.frames:
            return range(1)
        return range(0, num_frames, self.frames - self.overlap)

    def at(self, step: int, num_frames: int) -> list[list[int]]:
        """Frames of each window at a step, counted from 0; no frame twice in one window."""
        length = min(self.frames, num_frames)
        first = step * self.shift
        return [
            [(first + frame) % num_frames for frame in range(start, start + length)]
            for start in self.starts(num_frames)
        ]


@torch.no_grad()
def sample_clip(
    unet: Any,
    scheduler: Any,
    noise_BCFHW: Tensor,
    *,
    audio_BFTD: Tensor,
    num_steps: int,
    guidance_scale: float = 1.0,
    unconditional: Mapping[str, Any] | None = None,
    windows: Windows | None = None,
    generator: torch.Generator | None = None,
    on_step: Callable[[], None] = lambda: None,
    **conditions: Any,
) -> Tensor:
    """Denoised latents (B, C, F, H, W), float32; the network runs where and as `audio_BFTD` is.

    Args:
        unet: called as unet(sample, timestep_B, audio_BFTD=..., **conditions).
        scheduler: any of diffusers' with `set_timesteps` and `step`. It is copied, for it counts its steps.
        noise_BCFHW: standard normal.
        guidance_scale: 1 is none. Otherwise each step also runs unconditionally, and goes from there
            `guidance_scale` times as far as the conditions say.
        unconditional: conditions that are others in that run; None is silence (zeros for the sound).
        windows: None denoises all frames together.
        generator: for schedules that add noise at each step.
        on_step: called after each window of each step.
    """
    device, dtype = audio_BFTD.device, audio_BFTD.dtype
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_steps, device=device)
    options: dict[str, Any] = {"return_dict": False}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = generator
    heard: dict[str, Any] = {"audio_BFTD": audio_BFTD, **conditions}
    unheard: dict[str, Any] | None = None
    if guidance_scale != 1:
        silence = {"audio_BFTD": torch.zeros_like(audio_BFTD)}
        unheard = heard | dict(silence if unconditional is None else unconditional)

    def predict(sample: Tensor, timestep_B: Tensor, frames: list[int] | None) -> Tensor:
        prediction: Tensor = unet(sample, timestep_B, **_part(heard, frames))
        if unheard is not None:
            base: Tensor = unet(sample, timestep_B, **_part(unheard, frames))
            prediction = base + guidance_scale * (prediction - base)
        on_step()
        return prediction.float()

    latents = noise_BCFHW.to(device, torch.float32) * getattr(scheduler, "init_noise_sigma", 1.0)
    for step, timestep in enumerate(scheduler.timesteps):
        scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
        sample, timestep_B = scale(latents, timestep).to(dtype), timestep.expand(latents.shape[0])
        if windows is None:
            prediction = predict(sample, timestep_B, None)
        else:
            prediction, times = torch.zeros_like(latents), latents.new_zeros(latents.shape[2])
            for frames in windows.at(step, latents.shape[2]):
                prediction[:, :, frames] += predict(sample[:, :, frames], timestep_B, frames)
                times[frames] += 1
            prediction = prediction / times[:, None, None]
        latents = scheduler.step(prediction, timestep, latents, **options)[0]
    return latents


def _part(conditions: Mapping[str, Any], frames: list[int] | None) -> dict[str, Any]:
    """The conditions of some frames; of all of them for None."""
    if frames is None:
        return dict(conditions)
    return {
        name: value[:, frames] if name in _BY_FRAME and value is not None else value
        for name, value in conditions.items()
    }
