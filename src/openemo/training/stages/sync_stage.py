"""Trains the synchronisation network of the evaluation: which audio belongs to which mouth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.checkpoints.folder import write_hashes
from openemo.models.sync_embedder import SyncEmbedder
from openemo.training.datasets.sync_dataset import SyncBatch, SyncDataset
from openemo.training.new_networks import new_network
from openemo.training.recipes import SyncRecipe

__all__ = ["MAX_SHIFT_FRAMES", "SyncStage", "shift_similarity"]

MAX_SHIFT_FRAMES = 15
"""As in the measures of the evaluation."""

_BETWEEN_WEIGHT: Final = 0.25  # of the loss against the windows of other clips
# The shift loss compares means over many windows. A mean is less noisy, so it gets more weight.
_SHIFT_SCALE: Final = 2.0


def shift_similarity(similarity_BWW: Tensor, max_shift: int = MAX_SHIFT_FRAMES) -> Tensor:
    """(B, 2 * max_shift + 1) mean similarity of pictures with the audio s windows later, s = -max .. max.

    The mean is over the windows for which every shift exists, so all shifts have the same pictures.
    """
    num_windows = similarity_BWW.shape[-1]
    pictures = torch.arange(max_shift, num_windows - max_shift)
    shifts = torch.arange(-max_shift, max_shift + 1)
    return similarity_BWW[:, pictures[:, None], pictures[:, None] + shifts].mean(1)


class SyncStage:
    """Contrastive learning of windows (InfoNCE, van den Oord et al. 2018).

    Three losses of the same similarities: of a window against the other windows of its clip, in both
    directions; against the windows of other clips as well; of a whole clip against its shifts, which is what
    the measure of the evaluation computes.
    """

    def __init__(self, recipe: SyncRecipe) -> None:
        self.model = new_network(SyncEmbedder, recipe.model, recipe.seed)
        self.model.to(memory_format=torch.channels_last)
        self.modules: Mapping[str, nn.Module] = {"sync": self.model}
        self.dataset = SyncDataset(recipe, (int(self.model.config.height), int(self.model.config.width)))

    def loss(self, batch: SyncBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The weighted sum, and how often the right window and the right shift are the nearest."""
        pictures, audio = self.model(batch.crops_BFHW, batch.rows_BTM)
        scale = self.model.log_scale.exp().clamp(max=100)
        within = torch.einsum("bid,bjd->bij", pictures, audio)
        everywhere = pictures.flatten(0, 1) @ audio.flatten(0, 1).T
        shifts = shift_similarity(within)
        zero_shift = torch.full((len(shifts),), MAX_SHIFT_FRAMES)
        losses = {
            "within": _both_ways(scale * within),
            "between": _both_ways(scale * everywhere[None]),
            "shift": F.cross_entropy(_SHIFT_SCALE * scale * shifts, zero_shift),
        }
        right = torch.arange(within.shape[-1])
        return {
            "loss": losses["within"] + _BETWEEN_WEIGHT * losses["between"] + losses["shift"],
            **losses,
            "window_accuracy": (within.argmax(-1) == right).float().mean(),
            "shift_accuracy": ((shifts.argmax(-1) - MAX_SHIFT_FRAMES).abs() <= 1).float().mean(),
            "scale": scale,
        }

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the network as float16, with its hash: a folder that `SyncScorer` reads."""
        copy.deepcopy(self.model).half().save_pretrained(folder / "sync")
        write_hashes(folder / "sync")


def _both_ways(logits_BNN: Tensor) -> Tensor:
    """Cross-entropy of each picture's audio and of each audio's picture; the diagonal is right."""
    right = torch.arange(logits_BNN.shape[-1]).expand(len(logits_BNN), -1)
    return (F.cross_entropy(logits_BNN.mT, right) + F.cross_entropy(logits_BNN, right)) / 2
