"""One step of a stage without the loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from openemo.training.loop import TrainingStage

__all__ = ["draw_losses"]


def draw_losses(stage: TrainingStage[Any], seed: int = 0) -> dict[str, Tensor]:
    """Losses of the batch of this seed."""
    generator = torch.Generator().manual_seed(seed)
    return stage.loss(stage.dataset.draw(generator), generator)
