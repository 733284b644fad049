"""The training loop on a network of twenty numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from openemo.errors import CheckpointError, NonFiniteLossError
from openemo.training.loop import learning_rate, train
from openemo.training.recipes import LoopRecipe
from tests.pair import joined

SEVEN = 7


def _recipe(folder: Path, **changes: object) -> LoopRecipe:
    settings = {
        "output": folder,
        "data": folder,
        "steps": SEVEN,
        "learning_rate": 0.05,
        "lr_warmup_steps": 2,
        "save_every": 2,
        "log_every": 3,
    }
    return LoopRecipe.model_validate(settings | changes)


class _Inputs:
    def draw(self, generator: torch.Generator) -> Tensor:
        return torch.randn(6, 3, generator=generator)


class _Fit:
    """A linear map learns the sum of its noisy inputs. `broken_at`: the call of `loss` that goes wrong."""

    dataset = _Inputs()

    def __init__(self, broken_at: int = -1, how: str = "interrupt") -> None:
        self.network = nn.Linear(3, 5)
        with torch.no_grad():
            for seed, parameter in enumerate(self.network.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        self.modules: Mapping[str, nn.Module] = {"network": self.network}
        self.broken_at, self.how = broken_at, how
        self.seen: list[Tensor] = []

    def loss(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        self.seen.append(self.network.weight.detach().clone())
        noisy = batch + 0.1 * torch.randn(batch.shape, generator=generator)
        error = ((self.network(noisy) - batch.sum(1, keepdim=True)) ** 2).mean()
        if len(self.seen) - 1 == self.broken_at:
            if self.how == "interrupt":
                raise KeyboardInterrupt
            error = error * math.nan if self.how == "loss" else (error * 0).sqrt()
        return {"loss": error, "double": 2 * error}

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(modules["network"].state_dict()), folder / "network.safetensors")


def _files(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "state.safetensors") | load_file(folder / "export" / "network.safetensors")


def test_learning_rate_warms_up_stays_and_falls_to_nothing(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, steps=100, lr_warmup_steps=10, lr_decay_share=0.3, learning_rate=2e-3)
    rates = [learning_rate(step, recipe) for step in range(100)]
    assert rates[:10] == pytest.approx([2e-4 * (step + 1) for step in range(10)])
    assert rates[9:71] == pytest.approx([2e-3] * 62)
    assert rates[85] == pytest.approx(1e-3)
    assert rates[99] == pytest.approx(1e-3 * (1 + math.cos(math.pi * 29 / 30)))
    assert all(late < early for early, late in pairwise(rates[70:]))


def test_learning_rate_without_warm_up_and_decay_is_constant(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, lr_warmup_steps=0, lr_decay_share=0.0)
    assert {learning_rate(step, recipe) for step in range(SEVEN)} == {0.05}


@pytest.mark.parametrize("broken_at", [1, 4, 5])
def test_an_interrupted_and_resumed_run_equals_a_straight_one_bit_for_bit(
    tmp_path: Path, broken_at: int
) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    train(_Fit(), _recipe(straight), straight)
    with pytest.raises(KeyboardInterrupt):
        train(_Fit(broken_at), _recipe(resumed), resumed)
    assert not (resumed / "export").exists()
    again = _Fit()
    train(again, _recipe(resumed), resumed)
    # The last state was saved after an even number of steps.
    assert len(again.seen) == SEVEN - broken_at // 2 * 2
    expected, got = _files(straight), _files(resumed)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def _train_with_loaders(rank: int, folder: Path, num_workers: int) -> None:
    stage, before = _Fit(), torch.get_rng_state()
    train(stage, _recipe(folder, num_workers=num_workers), folder)
    assert torch.equal(torch.get_rng_state(), before)  # nothing draws from the global generator


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_of_other_processes_are_the_same(tmp_path: Path, num_workers: int) -> None:
    """In a process of its own: loaders fork, and other tests have started threads in this one."""
    own, others = tmp_path / "own", tmp_path / "others"
    train(_Fit(), _recipe(own), own)
    start_processes(_train_with_loaders, (others, num_workers), nprocs=1)
    expected, got = _files(own), _files(others)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_a_finished_run_only_exports_again(tmp_path: Path) -> None:
    train(_Fit(), _recipe(tmp_path), tmp_path)
    expected = _files(tmp_path)
    again = _Fit()
    train(again, _recipe(tmp_path), tmp_path)
    assert not again.seen
    assert all(torch.equal(tensor, _files(tmp_path)[name]) for name, tensor in expected.items())


def test_seeds_change_the_data(tmp_path: Path) -> None:
    train(_Fit(), _recipe(tmp_path / "a"), tmp_path / "a")
    train(_Fit(), _recipe(tmp_path / "b", seed=1), tmp_path / "b")
    assert not torch.equal(_files(tmp_path / "a")["weight"], _files(tmp_path / "b")["weight"])


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_before_the_update(tmp_path: Path, how: str) -> None:
    stage = _Fit(broken_at=3, how=how)
    with pytest.raises(NonFiniteLossError, match=f"the {how} is not finite at step 3"):
        train(stage, _recipe(tmp_path), tmp_path)
    assert torch.equal(stage.network.weight, stage.seen[3])  # as before the step
    state = load_file(tmp_path / "state.safetensors")
    assert torch.equal(state["weight/network.weight"], stage.seen[2])  # saved after two steps
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_the_state_of_another_network_is_refused_and_kept(tmp_path: Path) -> None:
    train(_Fit(), _recipe(tmp_path), tmp_path)
    before = (tmp_path / "state.safetensors").read_bytes()
    other = _Fit()
    other.modules = {"another": other.network}
    with pytest.raises(CheckpointError, match="2 unknown, 2 missing"):
        train(other, _recipe(tmp_path), tmp_path)
    frozen = _Fit()
    frozen.network.bias.requires_grad_(False)
    with pytest.raises(CheckpointError, match="1 unknown, 0 missing"):
        train(frozen, _recipe(tmp_path), tmp_path)
    assert (tmp_path / "state.safetensors").read_bytes() == before


def test_the_ema_of_the_weights_is_exported(tmp_path: Path) -> None:
    stage = _Fit()
    train(stage, _recipe(tmp_path, ema_decay=0.4), tmp_path)
    state = load_file(tmp_path / "state.safetensors")
    weights = [*stage.seen, state["weight/network.weight"]]
    ema = weights[0]
    for step, weight in enumerate(weights[1:], 1):
        decay = min(0.4, (1 + step) / (10 + step))
        ema = decay * ema + (1 - decay) * weight
    exported = load_file(tmp_path / "export" / "network.safetensors")["weight"]
    torch.testing.assert_close(exported, ema)
    assert torch.equal(exported, state["ema/network.weight"])
    assert not torch.equal(exported, weights[-1])


def test_frozen_parameters_stay_as_they_are(tmp_path: Path) -> None:
    stage = _Fit()
    stage.network.bias.requires_grad_(False)
    bias = stage.network.bias.clone()
    train(stage, _recipe(tmp_path), tmp_path)
    exported = load_file(tmp_path / "export" / "network.safetensors")
    assert torch.equal(exported["bias"], bias)
    assert not torch.equal(exported["weight"], stage.seen[0])


def test_the_run_folder_holds_settings_and_metrics(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    train(_Fit(), recipe, tmp_path)
    assert LoopRecipe.model_validate_json((tmp_path / "recipe.json").read_text()) == recipe
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert all(row["double"] == pytest.approx(2 * row["loss"]) for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "export",
        "metrics.jsonl",
        "recipe.json",
        "state.safetensors",
    ]


class _InputsOfTwo:
    """Generators of two processes at a step."""

    def draw(self, generator: torch.Generator) -> list[torch.Generator]:
        own = generator.initial_seed()  # with seed 0 the step itself
        return [torch.Generator().manual_seed(2 * own + rank) for rank in range(2)]


class _BothProcesses:
    """One process that computes what two processes compute."""

    dataset = _InputsOfTwo()

    def __init__(self) -> None:
        self.fit = _Fit()
        self.modules, self.export = self.fit.modules, self.fit.export

    def loss(self, batch: list[torch.Generator], generator: torch.Generator) -> dict[str, Tensor]:
        first, second = (self.fit.loss(self.fit.dataset.draw(each), each)["loss"] for each in batch)
        return {"loss": (first + second) / 2}


def _train_as_one_of_two(rank: int, folder: Path) -> None:
    with joined(rank, folder):
        train(_Fit(), _recipe(folder), folder / "pair")


def test_two_processes_train_as_one_with_both_batches(tmp_path: Path) -> None:
    start_processes(_train_as_one_of_two, (tmp_path,), nprocs=2)
    train(_BothProcesses(), _recipe(tmp_path), tmp_path / "one")
    pair, one = (load_file(tmp_path / name / "export" / "network.safetensors") for name in ("pair", "one"))
    for name in one:  # the sum of two gradients in another order
        torch.testing.assert_close(pair[name], one[name], atol=1e-5, rtol=0)
    rows = (tmp_path / "pair" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [3, 6, 7]


def _break_one_of_two(rank: int, folder: Path) -> None:
    with pytest.raises(NonFiniteLossError, match="at step 3"), joined(rank, folder):
        train(_Fit(broken_at=3 if rank else -1, how="loss"), _recipe(folder), folder / "pair")


def test_one_broken_process_stops_both(tmp_path: Path) -> None:
    start_processes(_break_one_of_two, (tmp_path,), nprocs=2)
