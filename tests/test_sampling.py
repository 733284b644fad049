"""The sampler with networks whose answer is known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from openemo.sampling import sample_clip

SHAPE_BCFHW = (2, 3, 4, 5, 6)
AUDIO_BFTD = torch.ones(2, 4, 7, 8)


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE_BCFHW, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_steps", [1, 4, 11])
def test_flow_matching_arrives_where_the_network_points(num_steps: int) -> None:
    clean = draw(1)

    def velocity(sample: Tensor, timestep_B: Tensor, **_: Any) -> Tensor:
        assert timestep_B.shape == (2,)
        return (
            (sample - clean) * 1000 / timestep_B[:, None, None, None, None]
        )  # x_t = (1 - s) x + s e, s = t / 1000

    result = sample_clip(
        velocity, FlowMatchEulerDiscreteScheduler(), draw(2), audio_BFTD=AUDIO_BFTD, num_steps=num_steps
    )
    torch.testing.assert_close(result, clean, atol=1e-5, rtol=0)  # float32 sums of up to 11 steps


def test_ddim_arrives_where_the_network_points() -> None:
    clean, scheduler = draw(1), DDIMScheduler(clip_sample=False, set_alpha_to_one=True)

    def noise_in(sample: Tensor, timestep_B: Tensor, **_: Any) -> Tensor:
        kept = scheduler.alphas_cumprod[timestep_B[0]]
        noise: Tensor = (sample - kept.sqrt() * clean) / (1 - kept).sqrt()
        return noise

    result = sample_clip(noise_in, scheduler, draw(2), audio_BFTD=AUDIO_BFTD, num_steps=9)
    torch.testing.assert_close(
        result, clean, atol=1e-3, rtol=0
    )  # early steps divide by sqrt(alpha) near 0.07


def test_guidance_goes_from_silence_through_the_sound() -> None:
    """A velocity of the sound's mean everywhere: the whole way from s = 1 to 0 is minus that."""

    def velocity(sample: Tensor, timestep_B: Tensor, *, audio_BFTD: Tensor, offset: float) -> Tensor:
        return torch.full_like(sample, audio_BFTD.mean().item() + offset)

    for guidance_scale, way in ((1.0, 1.5), (0.0, 0.5), (2.0, 2.5), (3.0, 3.5)):
        result = sample_clip(
            velocity,
            FlowMatchEulerDiscreteScheduler(),
            draw(3),
            audio_BFTD=AUDIO_BFTD,
            num_steps=5,
            guidance_scale=guidance_scale,
            offset=0.5,
        )
        torch.testing.assert_close(result, draw(3) - way, atol=1e-5, rtol=0)


def test_schedule_is_left_as_it_was() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    before = dict(vars(scheduler))
    for _ in range(2):
        sample_clip(lambda x, t, **_: x, scheduler, draw(4), audio_BFTD=AUDIO_BFTD, num_steps=3)
    assert all(vars(scheduler)[name] is value for name, value in before.items())


def test_network_runs_in_the_dtype_of_the_sound_and_sums_in_float32() -> None:
    seen = set()

    def network(sample: Tensor, timestep_B: Tensor, **_: Any) -> Tensor:
        seen.add(sample.dtype)
        return torch.zeros_like(sample)

    result = sample_clip(
        network,
        FlowMatchEulerDiscreteScheduler(),
        draw(5),
        audio_BFTD=AUDIO_BFTD.to(torch.bfloat16),
        num_steps=2,
    )
    assert seen == {torch.bfloat16}
    assert torch.equal(result, draw(5))
