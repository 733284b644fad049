"""The schedule of the open relatives: zero terminal SNR, trailing steps, velocity."""

from __future__ import annotations

import re

import pytest
import torch

from openemo.ddim_scheduler import DDIMScheduler
from tests.parity import assert_close, cases, config, folder_of, load

TOLERANCE = 1e-5  # a few roundings of float32


@pytest.mark.parametrize("case", cases("ddim_zero_snr"))
def test_schedule_is_the_relatives(case: str) -> None:
    folder = folder_of(case)
    inputs, expected = (load(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    settings = config(folder)
    scheduler = DDIMScheduler(**settings["constructor"])
    assert_close(scheduler.alphas_cumprod, expected["alphas_cumprod"], TOLERANCE)
    assert scheduler.alphas_cumprod[-1] == 0
    for num_inference_steps in map(int, settings["step_counts"]):
        scheduler.set_timesteps(num_inference_steps)
        assert torch.equal(scheduler.timesteps, expected[f"n{num_inference_steps}.timesteps"])
        # Not the next entry of the list: 1000 // steps earlier.
        previous = scheduler.timesteps - 1000 // num_inference_steps
        assert torch.equal(previous, expected[f"n{num_inference_steps}.previous_timesteps_used"])
        recorded = [key for key in expected if re.fullmatch(rf"n{num_inference_steps}\.step\d+\.\w+", key)]
        assert recorded
        for key in recorded:
            _, step, name = key.split(".")
            timestep = scheduler.timesteps[int(step.removeprefix("step"))]
            result = scheduler.step(inputs["model_output"], timestep, inputs["sample"])
            assert_close(getattr(result, name), expected[key], TOLERANCE)
