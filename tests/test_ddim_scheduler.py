"""Our DDIM against diffusers' own, bit for bit."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler as Diffusers

from openemo.checkpoints.components import load_scheduler
from openemo.ddim_scheduler import DDIMScheduler
from openemo.errors import ConfigError

SD15: dict[str, Any] = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SETTINGS: list[dict[str, Any]] = [
    {},
    SD15 | dict(clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    SD15 | dict(timestep_spacing="trailing", rescale_betas_zero_snr=True, clip_sample=False),
    SD15 | dict(timestep_spacing="linspace", clip_sample_range=0.5, num_train_timesteps=300),
]


@pytest.mark.parametrize(
    ("settings", "prediction_type"), list(product(SETTINGS, ["epsilon", "sample", "v_prediction"]))
)
def test_steps_are_diffusers(settings: dict[str, Any], prediction_type: str) -> None:
    if prediction_type == "epsilon" and settings.get("rescale_betas_zero_snr"):
        pytest.skip("the noise alone says nothing of the sample where nothing of it is left")
    ours = DDIMScheduler(**settings, prediction_type=prediction_type)  # type: ignore[arg-type]
    theirs = Diffusers(**settings, prediction_type=prediction_type)
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    generator = torch.Generator().manual_seed(3)
    for steps in (1, 4, 7):
        ours.set_timesteps(steps)
        theirs.set_timesteps(steps)
        assert torch.equal(ours.timesteps, theirs.timesteps)
        got = torch.randn(1, 3, 2, 5, 4, generator=generator)
        for timestep in ours.timesteps:
            output = torch.randn(got.shape, generator=generator)
            step, expected_step = (each.step(output, timestep, got) for each in (ours, theirs))
            got, expected = step.prev_sample, expected_step.prev_sample
            assert torch.equal(got, expected)
            assert torch.equal(step.pred_original_sample, expected_step.pred_original_sample)
        assert got.isfinite().all()


@pytest.mark.parametrize("settings", SETTINGS)
def test_noise_and_velocity_are_diffusers(settings: dict[str, Any]) -> None:
    ours, theirs = DDIMScheduler(**settings), Diffusers(**settings)
    generator = torch.Generator().manual_seed(5)
    clean, noise = (torch.randn(3, 2, 4, 5, 6, generator=generator) for _ in range(2))
    timesteps = torch.tensor([0, 150, 299])
    assert torch.equal(ours.add_noise(clean, noise, timesteps), theirs.add_noise(clean, noise, timesteps))
    got, expected = (each.get_velocity(clean, noise, timesteps) for each in (ours, theirs))
    assert torch.equal(got, expected)


@pytest.mark.parametrize("settings", SETTINGS)
def test_files_are_diffusers(settings: dict[str, Any], tmp_path: Path) -> None:
    DDIMScheduler(**settings, prediction_type="sample").save_pretrained(tmp_path / "ours")
    theirs = Diffusers.from_pretrained(tmp_path / "ours")
    assert theirs.config.prediction_type == "sample"
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_scheduler(tmp_path / "theirs")
    assert type(again) is DDIMScheduler
    assert dict(again.config) == dict(DDIMScheduler(**settings, prediction_type="sample").config)


def test_what_ours_lacks_is_left_to_diffusers(tmp_path: Path) -> None:
    for settings in (dict(thresholding=True), dict(beta_schedule="squaredcos_cap_v2")):
        Diffusers(**settings).save_pretrained(tmp_path)
        assert type(load_scheduler(tmp_path)) is Diffusers


def test_wrong_use() -> None:
    with pytest.raises(ConfigError, match="no such number of steps"):
        DDIMScheduler().set_timesteps(1001)
    with pytest.raises(ConfigError, match="no steps yet"):
        DDIMScheduler().step(torch.zeros(1), 0, torch.zeros(1))
    with pytest.raises(ConfigError, match="unknown setting"):
        DDIMScheduler(prediction_type="flow")  # type: ignore[arg-type]
