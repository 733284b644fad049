"""From noise to the latents of a clip: how a video is divided, and the denoising loop.

Shape letters as in `emo.py`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openemo.config import PipelineConfig
from openemo.ddim_scheduler import Scheduler
from openemo.pipeline.guidance import combine, unconditional_run
from openemo.timing import ClipSpan, plan_clips

__all__ = ["ClipPlan", "Windows", "initial_noise", "sample_clip"]

# Conditions with a frame axis, the second: a window gets its own part of them.
_BY_FRAME = ("audio_BFTD", "audio_tokens_BFTA", "speed_BF", "motion_conditions_BFK", "expression_guide_BFGHW")


@dataclass(frozen=True, slots=True)
class Windows:
    """Overlapping windows of a clip that is longer than the network's own; their predictions are averaged.

    Windows wrap around: the last ones continue with the first frames (EchoMimic). They shift at each step, so
    that their joints lie at other frames. A clip that fits one window is rotated too.

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


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """How a video is divided: clips one after the other, or one clip in windows.

    Attributes:
        clips: of the video's frames.
        windows: of a clip; None where it is denoised whole.
        clip_frames: frames that are denoised of each clip, also where the video ends earlier.
    """

    clips: tuple[ClipSpan, ...]
    windows: Windows | None
    clip_frames: int

    @classmethod
    def of(cls, num_frames: int, config: PipelineConfig) -> ClipPlan:
        if config.window_overlap is None:
            return cls(tuple(plan_clips(num_frames, config.clip_frames)), None, config.clip_frames)
        windows = Windows(config.clip_frames, config.window_overlap, config.window_shift)
        return cls((ClipSpan(0, num_frames),), windows, num_frames)

    @property
    def num_frames(self) -> int:
        """Frames that are denoised in all, those beyond the video's end included."""
        return self.clips[-1].start + self.clip_frames

    @property
    def calls_per_step(self) -> int:
        """How often a step of one clip calls back."""
        return 1 if self.windows is None else len(self.windows.starts(self.clip_frames))


def initial_noise(shape: tuple[int, ...], generator: torch.Generator, limit: float | None) -> Tensor:
    """Standard normal on the CPU, so that a seed means the same on every device; clamped to `limit`."""
    noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    return noise if limit is None else noise.clamp(-limit, limit)


@torch.no_grad()
def sample_clip(
    unet: Callable[..., Tensor],
    scheduler: Scheduler,
    noise_BCFHW: Tensor,
    *,
    audio_BFTD: Tensor,
    num_inference_steps: int,
    guidance_scale: float = 1.0,
    unconditional: Mapping[str, Any] | None = None,
    windows: Windows | None = None,
    generator: torch.Generator | None = None,
    on_step: Callable[[], None] = lambda: None,
    **conditions: Any,
) -> Tensor:
    """Denoised latents (B, C, F, H, W), float32; the network runs on the device and dtype of `audio_BFTD`.

    Args:
        unet: called as unet(sample, timestep_B, audio_BFTD=..., **conditions).
        scheduler: it is copied: it counts its steps.
        noise_BCFHW: standard normal.
        guidance_scale: 1 is none. Otherwise each step also runs without conditions, see `guidance`.
        unconditional: conditions that differ in that run; None drops the audio alone.
        windows: None denoises all frames together.
        generator: for schedules that add noise at each step.
        on_step: called after each window of each step.
    """
    device, dtype = audio_BFTD.device, audio_BFTD.dtype
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(num_inference_steps, device=device)
    options: dict[str, Any] = {"return_dict": False}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = generator
    conditional: dict[str, Any] = {"audio_BFTD": audio_BFTD, **conditions}
    unconditional_conditions = unconditional_run(conditional, unconditional, guidance_scale)

    def predict(sample: Tensor, timestep_B: Tensor, frames: list[int] | None) -> Tensor:
        prediction: Tensor = unet(sample, timestep_B, **_part(conditional, frames))
        if unconditional_conditions is not None:
            base: Tensor = unet(sample, timestep_B, **_part(unconditional_conditions, frames))
            prediction = combine(base, prediction, guidance_scale)
        on_step()
        return prediction.float()

    latents = noise_BCFHW.to(device, torch.float32) * getattr(scheduler, "init_noise_sigma", 1.0)
    for step, timestep in enumerate(scheduler.timesteps):
        scale = getattr(scheduler, "scale_model_input", lambda sample, _: sample)
        sample, timestep_B = scale(latents, timestep).to(dtype), timestep.expand(latents.shape[0])
        if windows is None:
            prediction = predict(sample, timestep_B, None)
        else:
            prediction, counts = torch.zeros_like(latents), latents.new_zeros(latents.shape[2])
            for frames in windows.at(step, latents.shape[2]):
                prediction[:, :, frames] += predict(sample[:, :, frames], timestep_B, frames)
                counts[frames] += 1
            prediction = prediction / counts[:, None, None]
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
