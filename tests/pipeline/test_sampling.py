"""The sampler with networks whose answer is known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from openemo.pipeline.sampling import Windows, sample_clip

SHAPE_BCFHW = (2, 3, 4, 5, 6)
AUDIO_BFTD = torch.ones(2, 4, 7, 8)


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE_BCFHW, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_inference_steps", [1, 4, 11])
def test_flow_matching_arrives_where_the_network_points(num_inference_steps: int) -> None:
    clean = draw(1)

    def velocity(sample: Tensor, timestep_B: Tensor, **_: Any) -> Tensor:
        assert timestep_B.shape == (2,)
        return (
            (sample - clean) * 1000 / timestep_B[:, None, None, None, None]
        )  # x_t = (1 - s) x + s e, s = t / 1000

    result = sample_clip(
        velocity,
        FlowMatchEulerDiscreteScheduler(),
        draw(2),
        audio_BFTD=AUDIO_BFTD,
        num_inference_steps=num_inference_steps,
    )
    torch.testing.assert_close(result, clean, atol=1e-5, rtol=0)  # float32 sums of up to 11 steps


def test_ddim_arrives_where_the_network_points() -> None:
    clean, scheduler = draw(1), DDIMScheduler(clip_sample=False, set_alpha_to_one=True)

    def noise_in(sample: Tensor, timestep_B: Tensor, **_: Any) -> Tensor:
        kept = scheduler.alphas_cumprod[timestep_B[0]]
        noise: Tensor = (sample - kept.sqrt() * clean) / (1 - kept).sqrt()
        return noise

    result = sample_clip(noise_in, scheduler, draw(2), audio_BFTD=AUDIO_BFTD, num_inference_steps=9)
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
            num_inference_steps=5,
            guidance_scale=guidance_scale,
            offset=0.5,
        )
        torch.testing.assert_close(result, draw(3) - way, atol=1e-5, rtol=0)


def test_schedule_is_left_as_it_was() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    before = dict(vars(scheduler))
    for _ in range(2):
        sample_clip(lambda x, t, **_: x, scheduler, draw(4), audio_BFTD=AUDIO_BFTD, num_inference_steps=3)
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
        num_inference_steps=2,
    )
    assert seen == {torch.bfloat16}
    assert torch.equal(result, draw(5))


@pytest.mark.parametrize(
    ("num_frames", "frames", "overlap"), [(7, 4, 1), (13, 12, 3), (30, 12, 3), (5, 12, 3)]
)
def test_windows_cover_every_frame(num_frames: int, frames: int, overlap: int) -> None:
    windows = Windows(frames, overlap, shift=2)
    for step in range(9):
        plan = windows.at(step, num_frames)
        assert len(plan) == len(windows.starts(num_frames))
        assert set(range(num_frames)) == {frame for window in plan for frame in window}
        assert all(len(set(window)) == len(window) == min(frames, num_frames) for window in plan)
        assert plan[0][0] == 2 * step % num_frames  # also where one window holds the whole clip


def test_predictions_of_windows_are_averaged() -> None:
    """A velocity that is the place in the window: each frame gets the mean of its places."""
    windows, num_frames = Windows(frames=3, overlap=1, shift=1), 4
    calls = []

    def velocity(
        sample: Tensor, timestep_B: Tensor, *, audio_BFTD: Tensor, speed_BF: Tensor, **_: Any
    ) -> Tensor:
        assert torch.equal(audio_BFTD[:, :, 0, 0], speed_BF)  # the window's own parts of all that has frames
        calls.append([int(frame) for frame in speed_BF[0]])
        places = torch.arange(sample.shape[2], dtype=sample.dtype)[:, None, None]
        return places.expand_as(sample)

    frames = torch.arange(num_frames, dtype=torch.float32)
    result = sample_clip(
        velocity,
        FlowMatchEulerDiscreteScheduler(),
        draw(6),
        audio_BFTD=frames[None, :, None, None].expand(2, -1, 7, 8),
        speed_BF=frames[None].expand(2, -1),
        num_inference_steps=2,
        windows=windows,
    )
    assert calls == [[0, 1, 2], [2, 3, 0], [1, 2, 3], [3, 0, 1]]
    # Places of frames 0 to 3: first (0, 2), (1), (2, 0), (1); then (1), (0, 2), (1), (2, 0).
    torch.testing.assert_close(result, draw(6) - 1, atol=1e-5, rtol=0)


def test_unconditional_run_has_its_own_conditions() -> None:
    def velocity(sample: Tensor, timestep_B: Tensor, *, audio_BFTD: Tensor | None, place: float) -> Tensor:
        level = 0.0 if audio_BFTD is None else float(audio_BFTD.mean())
        return torch.full_like(sample, level + place)

    result = sample_clip(
        velocity,
        FlowMatchEulerDiscreteScheduler(),
        draw(7),
        audio_BFTD=AUDIO_BFTD,
        num_inference_steps=3,
        guidance_scale=3.0,
        unconditional={"audio_BFTD": None, "place": -0.5},
        place=0.25,
    )
    # Unconditional -0.5, conditional 1.25: -0.5 + 3 * 1.75.
    torch.testing.assert_close(result, draw(7) - 4.75, atol=1e-5, rtol=0)
