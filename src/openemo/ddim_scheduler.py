"""The noise schedule of DDPM, sampled with DDIM (Song et al. 2021), as diffusers' DDIMScheduler has it.

It is here because of all else that diffusers' import brings: seconds before the first frame. Any scheduler of
diffusers fits in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from openemo.errors import ConfigError
from openemo.network_settings import NetworkConfig, register_to_config

__all__ = ["DDIM_SETTINGS", "DDIMOutput", "DDIMScheduler", "Scheduler"]

BetaSchedule = Literal["linear", "scaled_linear"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
TimestepSpacing = Literal["leading", "trailing", "linspace"]

DDIM_SETTINGS: Final = "scheduler_config.json"


class Scheduler(Protocol):
    """What the denoising loop needs of a scheduler, and a checkpoint: all of diffusers' have it."""

    timesteps: Tensor

    @property
    def config(self) -> Any: ...
    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None: ...
    @property
    def step(self) -> Callable[..., Any]:
        """Of (model_output, timestep, sample): a tuple that begins with the sample of the step before."""

    def save_pretrained(self, save_directory: str | Path) -> None: ...


class DDIMOutput(NamedTuple):
    """The sample of the timestep before, and the clean sample that the network's output means."""

    prev_sample: Tensor
    pred_original_sample: Tensor


class DDIMScheduler:
    """Without noise between the steps (eta 0).

    Args:
        num_train_timesteps: T.
        beta_start, beta_end, beta_schedule: variances of the noise; "scaled_linear" is SD's.
        clip_sample, clip_sample_range: hold the predicted clean sample within +- the range.
        set_alpha_to_one: the last step ends at the clean sample; otherwise at the noise of timestep 0.
        steps_offset: of "leading" timesteps.
        prediction_type: what the network predicts: the noise, the clean sample, or the velocity (Salimans and
            Ho 2022).
        timestep_spacing: "trailing" starts at T - 1 (Lin et al. 2024, table 2).
        rescale_betas_zero_snr: nothing of the sample is left at T - 1 (Lin et al. 2024, algorithm 1).

    Attributes:
        alphas_cumprod: (T,) share of the sample's variance at each timestep.
        timesteps: after `set_timesteps`, those of the steps, the noisiest first.
    """

    config: NetworkConfig
    init_noise_sigma: Final = 1.0
    order: Final = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: BetaSchedule = "linear",
        *,
        clip_sample: bool = True,
        clip_sample_range: float = 1.0,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: PredictionType = "epsilon",
        timestep_spacing: TimestepSpacing = "leading",
        rescale_betas_zero_snr: bool = False,
    ) -> None:
        for value, kinds in (
            (beta_schedule, BetaSchedule),
            (prediction_type, PredictionType),
            (timestep_spacing, TimestepSpacing),
        ):
            if value not in get_args(kinds):
                raise ConfigError(
                    "unknown setting of the scheduler", got=repr(value), expected=", ".join(get_args(kinds))
                )
        power = 2 if beta_schedule == "scaled_linear" else 1
        betas = (
            torch.linspace(
                beta_start ** (1 / power), beta_end ** (1 / power), num_train_timesteps, dtype=torch.float32
            )
            ** power
        )
        alphas = 1.0 - (_with_zero_snr(betas) if rescale_betas_zero_snr else betas)
        self.alphas_cumprod = torch.cumprod(alphas, dim=0)
        self._final = torch.tensor(1.0) if set_alpha_to_one else self.alphas_cumprod[0]
        self.timesteps = torch.arange(num_train_timesteps).flip(0)
        self._num_inference_steps: int | None = None

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Raises ConfigError for more steps than there are timesteps."""
        total, offset = self.config.num_train_timesteps, self.config.steps_offset
        if not 1 <= num_inference_steps <= total:
            raise ConfigError("no such number of steps", got=num_inference_steps, expected=f"1 to {total}")
        if self.config.timestep_spacing == "linspace":
            steps = np.linspace(0, total - 1, num_inference_steps).round()[::-1]
        elif self.config.timestep_spacing == "leading":
            steps = np.arange(num_inference_steps)[::-1] * (total // num_inference_steps) + offset
        else:
            steps = np.round(np.arange(total, 0, -total / num_inference_steps)) - 1
        self._num_inference_steps = num_inference_steps
        self.timesteps = torch.from_numpy(steps.astype(np.int64)).to(device)

    def step(
        self, model_output: Tensor, timestep: Tensor | int, sample: Tensor, *, return_dict: bool = True
    ) -> DDIMOutput:
        """The sample of the timestep before, of shape and dtype of `sample`.

        Args:
            model_output: what the network predicts, as `prediction_type` says.
            return_dict: for callers of diffusers' schedulers; the result is a tuple with names either way.
        """
        if self._num_inference_steps is None:
            raise ConfigError("the scheduler has no steps yet", fix="Call `set_timesteps` first")
        before = int(timestep) - self.config.num_train_timesteps // self._num_inference_steps
        alpha = self.alphas_cumprod[int(timestep)]
        alpha_before = self.alphas_cumprod[before] if before >= 0 else self._final
        clean, noise = self._parts(model_output, sample, alpha)
        if self.config.clip_sample:
            limit = self.config.clip_sample_range
            clean = clean.clamp(-limit, limit)
        return DDIMOutput(alpha_before**0.5 * clean + (1 - alpha_before) ** 0.5 * noise, clean)

    def _parts(self, output: Tensor, sample: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Clean sample and noise (Song et al. 2021, eq. 9 and 12)."""
        signal, spread = alpha**0.5, (1 - alpha) ** 0.5
        if self.config.prediction_type == "epsilon":
            return (sample - spread * output) / signal, output
        if self.config.prediction_type == "sample":
            return output, (sample - signal * output) / spread
        return signal * sample - spread * output, signal * output + spread * sample

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Samples (B, ...) with the noise of timesteps (B,)."""
        signal, spread = self._signal_and_spread(original_samples, timesteps)
        return signal * original_samples + spread * noise

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a network of "v_prediction" predicts for these."""
        signal, spread = self._signal_and_spread(sample, timesteps)
        return signal * noise - spread * sample

    def _signal_and_spread(self, like: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod.to(like)[timesteps.to(like.device)]
        alphas = alphas.reshape(-1, *(1,) * (like.ndim - 1))
        return alphas**0.5, (1 - alphas) ** 0.5

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write scheduler_config.json, as diffusers reads it."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        values = {"_class_name": type(self).__name__} | dict(self.config)
        (folder / DDIM_SETTINGS).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def _with_zero_snr(betas: Tensor) -> Tensor:
    """Lin et al. 2024, algorithm 1: the signal falls to zero, and starts where it did."""
    signal = torch.cumprod(1.0 - betas, dim=0).sqrt()
    first, last = signal[0].clone(), signal[-1].clone()
    signal = (signal - last) * (first / (first - last))
    shares = signal**2
    return 1 - torch.cat([shares[:1], shares[1:] / shares[:-1]])
