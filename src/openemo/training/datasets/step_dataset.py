"""The batches of a run, one per step, read through torch's DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

__all__ = ["BatchSource", "StepDataset", "load_batches"]

Batch = TypeVar("Batch")
BatchOut = TypeVar("BatchOut", covariant=True)


class BatchSource(Protocol[BatchOut]):
    """Training data of a stage."""

    def draw(self, generator: torch.Generator) -> BatchOut:
        """One batch. All its randomness comes from `generator`."""
        ...


@dataclass(frozen=True)
class StepDataset(Dataset[tuple[Batch, Tensor]], Generic[Batch]):
    """Item `step` is the batch of that step, and the state of the generator after drawing it.

    Randomness is a function of (seed, step, process), so a resumed run draws what a straight one draws, in
    whichever process the batch is loaded. What the loss draws continues from the state.
    """

    source: BatchSource[Batch]
    seed: int
    process_index: int = 0
    num_processes: int = 1

    def __getitem__(self, step: int) -> tuple[Batch, Tensor]:
        seed = (self.seed * 1_000_003 + step) * self.num_processes + self.process_index
        generator = torch.Generator().manual_seed(seed)
        return self.source.draw(generator), generator.get_state()


def load_batches(
    dataset: StepDataset[Batch], steps: range, num_workers: int = 0
) -> Iterator[tuple[Batch, torch.Generator]]:
    """Batches of these steps in order, each with the generator that drew it."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=steps,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # the loader draws a seed for its workers: not from the global generator
    )
    for batch, state in loader:
        generator = torch.Generator()
        generator.set_state(state)
        yield batch, generator


def _as_it_is(item: Any) -> Any:
    """torch's own function would copy batches that are lists."""
    return item
