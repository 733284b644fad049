"""The diffusion objective: invertible, per sample, and on the same schedule as sampling."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from openemo.errors import ConfigError
from openemo.pipeline.sampling import sample_clip
from openemo.training.objective import add_noise, make_scheduler, sample_timesteps, weighted_mse
from openemo.training.recipes import PredictionType

SHAPE = (3, 2, 5, 4, 6)  # B C F H W


def _flow(shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)


def _ddim(kind: str) -> DDIMScheduler:
    """Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=kind,
        clip_sample=False,
        set_alpha_to_one=True,
    )


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _share_of_noise(scheduler: Any, timestep: float) -> tuple[float, float]:
    """(a, b) of x_t = a x + b e, read off the training side: zeros for one of both."""
    zero, one, at = torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([timestep])
    if isinstance(scheduler, DDIMScheduler):
        at = at.long()
    return float(add_noise(scheduler, one, zero, at)[0]), float(add_noise(scheduler, zero, one, at)[0])


def _column(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    "scheduler", [_flow(), _flow(shift=3), _ddim("epsilon")], ids=["flow", "shifted", "ddim"]
)
def test_timesteps_are_of_the_schedules_own_table_and_repeatable(scheduler: Any) -> None:
    drawn = sample_timesteps(scheduler, 4000, torch.Generator().manual_seed(3))
    assert drawn.shape == (4000,)
    assert set(drawn.tolist()) <= set(scheduler.timesteps.tolist())
    # Uniform over its places: the quartiles of 4000 draws are within 3 % of theirs.
    table = scheduler.timesteps.sort().values.float()
    for quarter in (0.25, 0.5, 0.75):
        place = float((table < drawn.float().quantile(quarter)).float().mean())
        assert place == pytest.approx(quarter, abs=0.03)
    assert torch.equal(drawn, sample_timesteps(scheduler, 4000, torch.Generator().manual_seed(3)))


def test_some_timesteps_are_the_noisiest_where_asked() -> None:
    for prediction_type in get_args(PredictionType):
        scheduler = make_scheduler(prediction_type, shift=1.0)
        drawn = sample_timesteps(scheduler, 4000, torch.Generator().manual_seed(3), terminal_share=0.7)
        first = sample_timesteps(scheduler, 9, torch.Generator().manual_seed(1), terminal_share=1.0)
        assert (first == drawn.max()).all()
        scheduler.set_timesteps(4)
        assert float(drawn.max()) == pytest.approx(float(scheduler.timesteps[0]), abs=1e-3)
        # Three standard deviations of 4000 draws.
        assert float((drawn == drawn.max()).float().mean()) == pytest.approx(0.7, abs=0.022)
        assert len(set(drawn.tolist())) > 500


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching_recovers_the_clean_latents_and_the_noise(shift: float) -> None:
    scheduler, clean, noise = _flow(shift), _randn(*SHAPE), _randn(*SHAPE, seed=1)
    places = torch.tensor([0, 411, 999])
    noisy, target = add_noise(scheduler, clean, noise, scheduler.timesteps[places])
    sigma = _column(scheduler.sigmas[places])
    # Float rounding of sums of numbers up to 5.
    torch.testing.assert_close(noisy - sigma * target, clean, atol=1e-5, rtol=0)
    torch.testing.assert_close(noisy + (1 - sigma) * target, noise, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_ddim_recovers_the_clean_latents(kind: str) -> None:
    scheduler, clean, noise = _ddim(kind), _randn(*SHAPE), _randn(*SHAPE, seed=1)
    timesteps = torch.tensor([0, 411, 999])
    noisy, target = add_noise(scheduler, clean, noise, timesteps)
    alpha = _column(scheduler.alphas_cumprod[timesteps])
    if kind == "epsilon":
        recovered = (noisy - (1 - alpha).sqrt() * target) / alpha.sqrt()
    else:
        recovered = alpha.sqrt() * noisy - (1 - alpha).sqrt() * target
    # At the last timestep 7 % of the signal are left: rounding grows 15-fold.
    torch.testing.assert_close(recovered, clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_perfect_predictions_are_sampled_back(prediction_type: PredictionType) -> None:
    """Training's target, fed to the same schedule's steps, leads from noise to the clean latents."""
    scheduler = make_scheduler(prediction_type)
    clean, noise = _randn(*SHAPE), _randn(*SHAPE, seed=1)
    scheduler.set_timesteps(4)
    latents = noise
    for timestep in scheduler.timesteps:
        # Both paths are straight in (clean, noise), so the noise at each step is the first one.
        _, wanted = add_noise(scheduler, clean, noise, timestep.expand(len(clean)))
        latents = scheduler.step(wanted, timestep, latents).prev_sample
    torch.testing.assert_close(latents, clean, atol=1e-4, rtol=0)


def test_the_sample_schedule_ends_in_pure_noise() -> None:
    scheduler = make_scheduler("sample")
    noisy, _ = add_noise(scheduler, _randn(*SHAPE), torch.zeros(SHAPE), torch.tensor([999] * SHAPE[0]))
    assert not noisy.any()
    scheduler.set_timesteps(5)
    assert int(scheduler.timesteps[0]) == 999


def test_schedules_that_predict_something_else_are_refused() -> None:
    with pytest.raises(ConfigError, match="epsilon, v_prediction or sample"):
        add_noise(_ddim("noise"), _randn(*SHAPE), _randn(*SHAPE), torch.tensor([1, 2, 3]))


def test_weighted_mse_of_equal_weights_is_the_mean_squared_error() -> None:
    prediction, target = _randn(*SHAPE), _randn(*SHAPE, seed=1)
    for weight in (torch.ones(1, 1, 1, 1, 1), torch.full((3, 1, 1, 4, 6), 7.0)):
        got = weighted_mse(prediction, target, weight)
        torch.testing.assert_close(got, torch.nn.functional.mse_loss(prediction, target))


def test_errors_that_change_within_a_clip_may_count_more() -> None:
    target, always, now_and_then = _randn(*SHAPE), _randn(*SHAPE)[:, :, :1], _randn(*SHAPE, seed=1)
    now_and_then = now_and_then - now_and_then.mean(2, keepdim=True)
    for error, factor in ((always.expand(SHAPE), 1.0), (now_and_then, 4.0)):
        got = weighted_mse(target + error, target, torch.ones(1, 1, 1, 1, 1), temporal_change_weight=3.0)
        torch.testing.assert_close(got, factor * (error**2).mean())


def test_weights_act_within_their_own_sample() -> None:
    prediction, target = _randn(*SHAPE), _randn(*SHAPE, seed=1)
    weight = _randn(3, 1, 1, 4, 6, seed=2).abs() + 0.1
    expected = []
    for p, t, w in zip(prediction, target, weight, strict=True):
        w = w.expand_as(p)
        expected.append((w * (p - t) ** 2).sum() / w.sum())
    torch.testing.assert_close(weighted_mse(prediction, target, weight), torch.stack(expected).mean())
    # A sample counts as much as another, however large its weights are.
    louder = weight * torch.tensor([1.0, 100.0, 0.01]).reshape(-1, 1, 1, 1, 1)
    torch.testing.assert_close(
        weighted_mse(prediction, target, louder), weighted_mse(prediction, target, weight)
    )


def test_each_samples_gradient_depends_on_its_own_weights_alone() -> None:
    target, weight = _randn(*SHAPE, seed=1), _randn(3, 1, 1, 4, 6, seed=2).abs() + 0.1
    gradients = []
    for factor in (1.0, 5.0):
        prediction = _randn(*SHAPE).requires_grad_()
        changed = weight.clone()
        changed[1, ..., :3] *= factor
        weighted_mse(prediction, target, changed).backward()
        assert prediction.grad is not None
        gradients.append(prediction.grad)
    same = (gradients[0] - gradients[1]).abs().amax((1, 2, 3, 4))
    assert same[0] == same[2] == 0
    assert same[1] > 0


@pytest.mark.parametrize(
    "scheduler", [_flow(), _flow(shift=3), _ddim("epsilon")], ids=["flow", "shifted", "ddim"]
)
def test_training_and_sampling_mean_the_same_noise_by_a_timestep(scheduler: Any) -> None:
    sampler = copy.deepcopy(scheduler)
    sampler.set_timesteps(10)
    for place, timestep in enumerate(sampler.timesteps.tolist()):
        nearest = scheduler.timesteps[(scheduler.timesteps - timestep).abs().argmin()]
        if isinstance(scheduler, DDIMScheduler):
            sampled = float((1 - sampler.alphas_cumprod[int(timestep)]).sqrt())
        else:
            sampled = float(sampler.sigmas[place])
        trained = _share_of_noise(scheduler, float(nearest))[1]
        # A timestep of the sampler may lie between two of the thousand trained ones.
        assert trained == pytest.approx(sampled, abs=2e-3)


class _Oracle:
    """Knows the clean latents, so its prediction is perfect; written from the objective's formulas alone."""

    def __init__(self, clean: Tensor, scheduler: Any) -> None:
        self.clean, self.scheduler = clean, scheduler

    def __call__(self, sample: Tensor, timestep_B: Tensor, *, audio_BFTD: Tensor) -> Tensor:
        assert timestep_B.shape == sample.shape[:1]
        if not isinstance(self.scheduler, DDIMScheduler):
            sigma = _column(timestep_B / 1000)
            return (sample - self.clean) / sigma
        alpha = _column(self.scheduler.alphas_cumprod[timestep_B])
        noise = (sample - alpha.sqrt() * self.clean) / (1 - alpha).sqrt()
        if self.scheduler.config.prediction_type == "epsilon":
            return noise
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * self.clean


@pytest.mark.parametrize(
    "scheduler",
    [_flow(), _flow(shift=3), _ddim("epsilon"), _ddim("v_prediction")],
    ids=["flow", "shifted", "epsilon", "v"],
)
@pytest.mark.parametrize("num_inference_steps", [1, 7, 10])
def test_sampling_with_a_perfect_network_makes_the_clean_latents(
    scheduler: Any, num_inference_steps: int
) -> None:
    clean = _randn(*SHAPE)
    # The oracle predicts what training asks for.
    noise, timesteps = _randn(*SHAPE, seed=1), scheduler.timesteps[[100, 500, 900]]
    noisy, target = add_noise(scheduler, clean, noise, timesteps)
    oracle = _Oracle(clean, scheduler)
    audio = torch.zeros(3, 5, 7, 8)
    torch.testing.assert_close(oracle(noisy, timesteps, audio_BFTD=audio), target, atol=1e-4, rtol=1e-4)
    made = sample_clip(
        oracle, scheduler, _randn(*SHAPE, seed=2), audio_BFTD=audio, num_inference_steps=num_inference_steps
    )
    torch.testing.assert_close(made, clean, atol=1e-4, rtol=0)  # rounding over the steps
