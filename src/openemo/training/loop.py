"""The training loop: the same for every stage.

A stage says what is trained and gives the loss of a step; the loop does the rest: learning rate, clipping,
the mean of the weights, metrics, checkpoints. Randomness comes from (seed, step, process) alone, so a resumed
run continues exactly where the interrupted one stopped. Under `torchrun` each process draws its own batch and
the gradients are averaged.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openemo.errors import CheckpointError, NonFiniteLossError
from openemo.training.peers import Peers
from openemo.training.recipe import LoopRecipe

__all__ = ["Stage", "learning_rate", "train"]

log = logging.getLogger(__name__)


class Stage(Protocol):
    """What a stage gives to the loop."""

    modules: Mapping[str, nn.Module]
    """Networks to save, by name; parameters that require a gradient are trained."""

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of one batch drawn with `generator`; the one named "loss" is minimised."""
        ...

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the trained networks as users load them. `modules` hold the mean weights."""
        ...


def learning_rate(step: int, recipe: LoopRecipe) -> float:
    """Linear warm-up, constant, then a cosine to zero over the last `decay` part of the steps."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    start = recipe.steps * (1 - recipe.decay)
    progress = max(0.0, (step - start) / max(1.0, recipe.steps - start))
    return recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _trained(stage: Stage) -> Iterator[tuple[str, nn.Parameter]]:
    for prefix, module in stage.modules.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield f"{prefix}.{name}", parameter


def train(stage: Stage, recipe: LoopRecipe, folder: Path) -> None:
    """Runs to `recipe.steps`, from `folder`'s last checkpoint where there is one.

    Where a process group exists, each of its processes calls this; the first one writes.

    Raises:
        NonFiniteLossError: before the update, so the last checkpoint is good.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(recipe.model_dump_json(indent=1))
    parameters = dict(_trained(stage))
    optimizer = torch.optim.AdamW(
        parameters.values(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay
    )
    mean = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    step = _resume(folder, parameters, mean, optimizer)
    log.info(
        "%d trained parameters, step %d of %d", sum(p.numel() for p in mean.values()), step, recipe.steps
    )
    peers = Peers.present()
    started, sums, since = time.monotonic(), dict[str, float](), 0
    while step < recipe.steps:
        generator = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * peers.count + peers.rank)
        losses = stage.loss(generator)
        # Where one process stops all must, or the others wait for it forever.
        _check_finite("loss", peers.mean(losses["loss"].detach()), step, folder)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        peers.average_gradients(parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.clip_norm)
        _check_finite("gradient", norm, step, folder)
        optimizer.step()
        step += 1
        decay = min(recipe.mean_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(mean.values()), [p.detach() for p in parameters.values()], 1 - decay)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        since += 1
        if peers.rank == 0 and (step % recipe.log_every == 0 or step == recipe.steps):
            elapsed = time.monotonic() - started
            row = {"step": step, "seconds_per_step": elapsed / since} | {
                k: v / since for k, v in sums.items()
            }
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            log.info("  ".join(f"{key} {value:.5g}" for key, value in row.items()))
            started, sums, since = time.monotonic(), {}, 0
        if peers.rank == 0 and (step % recipe.save_every == 0 or step == recipe.steps):
            _save(folder, step, parameters, mean, optimizer)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(mean[name])
    if peers.rank == 0:
        stage.export(stage.modules, folder / "export")


def _check_finite(what: str, value: Tensor, step: int, folder: Path) -> None:
    if not bool(torch.isfinite(value)):
        raise NonFiniteLossError(
            f"the {what} is not finite at step {step}",
            got=float(value),
            fix=f"Lower the learning rate and run again; {folder} holds the last good state",
        )


def _save(
    folder: Path,
    step: int,
    parameters: Mapping[str, nn.Parameter],
    mean: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """One file for all, replaced in one go: a kill at any moment leaves the old state or the new one."""
    tensors = {f"weight/{name}": p.detach() for name, p in parameters.items()}
    tensors |= {f"mean/{name}": tensor for name, tensor in mean.items()}
    for index, slot in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{key}": value for key, value in slot.items()}
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    partial = folder / "state.partial.safetensors"
    save_file(tensors, partial, metadata={"step": str(step)})
    partial.replace(folder / "state.safetensors")


def _resume(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    mean: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    path = folder / "state.safetensors"
    if not path.exists():
        return 0
    tensors = load_file(path)
    weights = {name.removeprefix("weight/") for name in tensors if name.startswith("weight/")}
    if weights != set(parameters):
        raise CheckpointError(
            f"the state in {path} is of another network or stage",
            got=f"{len(weights - set(parameters))} unknown, {len(set(parameters) - weights)} missing tensors",
            fix="Choose another output folder, or the recipe that wrote it",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            mean[name].copy_(tensors[f"mean/{name}"])
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            slots.setdefault(int(index), {})[key] = tensor
    state = optimizer.state_dict()
    optimizer.load_state_dict({"state": slots, "param_groups": state["param_groups"]})
    steps = {int(slot["step"]) for slot in slots.values()}
    return max(steps)
