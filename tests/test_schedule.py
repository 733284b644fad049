"""The schedule of the open relatives, through diffusers: zero terminal SNR, trailing steps, velocity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file

TOLERANCE = 1e-5  # a few roundings of float32


@pytest.mark.parametrize("num_steps", [3, 6, 25, 30, 40])
def test_schedule_is_the_relatives(shared_dir: Path, num_steps: int) -> None:
    folder = shared_dir / "parity" / "ddim_zero_snr"
    settings = json.loads((folder / "config.json").read_text())
    inputs, expected = (load_file(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    scheduler = DDIMScheduler(**settings["constructor"])
    torch.testing.assert_close(scheduler.alphas_cumprod, expected["alphas_cumprod"], atol=TOLERANCE, rtol=0)
    assert scheduler.alphas_cumprod[-1] == 0
    scheduler.set_timesteps(num_steps)
    assert torch.equal(scheduler.timesteps, expected[f"n{num_steps}.timesteps"])
    # Not the next entry of the list: 1000 // steps earlier.
    previous = scheduler.timesteps - 1000 // num_steps
    assert torch.equal(previous, expected[f"n{num_steps}.previous_timesteps_used"])
    for step in (0, 1, num_steps - 1):
        result = scheduler.step(inputs["model_output"], scheduler.timesteps[step], inputs["sample"])
        for name in ("prev_sample", "pred_original_sample"):
            torch.testing.assert_close(
                getattr(result, name), expected[f"n{num_steps}.step{step}.{name}"], atol=TOLERANCE, rtol=0
            )
