"""The training loop, the same for every stage.

A stage says what is trained, gives batches and the loss of a batch. The loop does the rest: learning rate,
gradient clipping, EMA of the weights, metrics, checkpoints. Randomness comes from (seed, step, process)
alone, so a resumed run continues exactly where the interrupted one stopped. Under `torchrun` each process
draws its own batch and the gradients are averaged.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn

from openemo.errors import NonFiniteLossError
from openemo.training.datasets.step_dataset import BatchSource, StepDataset, load_batches
from openemo.training.processes import average_gradients
from openemo.training.recipes import LoopRecipe
from openemo.training.training_state import TrainingState

__all__ = ["TrainingStage", "learning_rate", "train"]

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")


class TrainingStage(Protocol[Batch]):
    """What a stage gives to the loop."""

    modules: Mapping[str, nn.Module]
    """Networks to save, by name; parameters that require a gradient are trained."""

    @property
    def dataset(self) -> BatchSource[Batch]: ...

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of one batch; the one named "loss" is minimised.

        Args:
            generator: the one that drew the batch. Noise and dropout come from it.
        """
        ...

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the trained networks as users load them. `modules` hold the averaged weights."""
        ...


def learning_rate(step: int, recipe: LoopRecipe) -> float:
    """Linear warm-up, constant, then a cosine to zero over the last `lr_decay_share` of the steps."""
    warmup = min(1.0, (step + 1) / max(1, recipe.lr_warmup_steps))
    start = recipe.steps * (1 - recipe.lr_decay_share)
    progress = max(0.0, (step - start) / max(1.0, recipe.steps - start))
    return recipe.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def train(stage: TrainingStage[Any], recipe: LoopRecipe, folder: Path) -> None:
    """Runs to `recipe.steps`, from `folder`'s last checkpoint if there is one.

    If a process group exists, each of its processes calls this; the first one writes.

    Raises:
        NonFiniteLossError: before the update, so the last checkpoint is good.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(recipe.model_dump_json(indent=1))
    processes, metrics = PartialState(), _Metrics(folder / "metrics.jsonl")
    state = TrainingState(stage.modules, recipe)
    state.resume(folder)
    log.info("%d trained parameters, step %d of %d", state.num_parameters, state.step, recipe.steps)
    dataset = StepDataset(stage.dataset, recipe.seed, processes.process_index, processes.num_processes)
    for batch, generator in load_batches(dataset, range(state.step, recipe.steps), recipe.num_workers):
        losses = stage.loss(batch, generator)
        _backward(losses["loss"], state, recipe, folder)
        state.update(learning_rate(state.step, recipe))
        metrics.add(losses)
        is_last = state.step == recipe.steps
        if processes.is_main_process and (is_last or state.step % recipe.log_every == 0):
            metrics.write(state.step)
        if processes.is_main_process and (is_last or state.step % recipe.save_every == 0):
            state.save(folder)
    state.load_ema()
    if processes.is_main_process:
        stage.export(stage.modules, folder / "export")


def _backward(loss: Tensor, state: TrainingState, recipe: LoopRecipe, folder: Path) -> None:
    """Averaged and clipped gradients of one step.

    Raises:
        NonFiniteLossError: in all processes, or the others would wait forever.
    """
    _check_finite("loss", reduce(loss.detach(), "mean"), state.step, folder)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(state.parameters.values())
    norm = torch.nn.utils.clip_grad_norm_(state.parameters.values(), recipe.max_grad_norm)
    _check_finite("gradient", norm, state.step, folder)


def _check_finite(what: str, value: Tensor, step: int, folder: Path) -> None:
    if not bool(torch.isfinite(value)):
        raise NonFiniteLossError(
            f"the {what} is not finite at step {step}",
            got=float(value),
            fix=f"Lower the learning rate and run again; {folder} holds the last good state",
        )


class _Metrics:
    """One row per `log_every` steps: means of the losses since the row before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reset()

    def _reset(self) -> None:
        self.started, self.sums, self.count = time.monotonic(), dict[str, float](), 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.count += 1

    def write(self, step: int) -> None:
        elapsed = time.monotonic() - self.started
        row = {"step": step, "seconds_per_step": elapsed / self.count}
        row |= {name: total / self.count for name, total in self.sums.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        log.info("  ".join(f"{key} {value:.5g}" for key, value in row.items()))
        self._reset()
