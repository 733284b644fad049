"""Trains the synchronisation network of the evaluation: which sound belongs to which mouth."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.checkpoints.folder import write_hashes
from openemo.data.recipe import DataRecipe
from openemo.errors import TrainingError
from openemo.models.sync import ROWS_PER_FRAME, SyncEmbedder, rows_of_frames
from openemo.training.recipe import SyncRecipe, load_recipe
from openemo.training.sync_augment import augment_pictures, augment_sound
from openemo.training.sync_data import pack_sync_data

__all__ = ["MAX_SHIFT_FRAMES", "SyncStage", "shift_similarity"]

MAX_SHIFT_FRAMES = 15


def shift_similarity(similarity_BWW: Tensor, max_shift: int = MAX_SHIFT_FRAMES) -> Tensor:
    """(B, 2 * max_shift + 1) mean similarity of pictures with the sound s windows later, s = -max .. max.

    The mean is over the windows for which every shift exists, so all shifts see the same pictures.
    """
    num_windows = similarity_BWW.shape[-1]
    pictures = torch.arange(max_shift, num_windows - max_shift)
    shifts = torch.arange(-max_shift, max_shift + 1)
    return similarity_BWW[:, pictures[:, None], pictures[:, None] + shifts].mean(1)


class SyncStage:
    """Contrastive learning of windows (InfoNCE, van den Oord et al. 2018).

    Three losses of the same similarities: of a window against the other windows of its clip, in both
    directions; against those of other clips as well; of a clip as a whole against its shifts, which is what
    the measure asks.
    """

    def __init__(self, recipe: SyncRecipe) -> None:
        self.recipe = recipe
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            self.model = SyncEmbedder(**recipe.model)
        self.model.to(memory_format=torch.channels_last)
        self.modules: Mapping[str, nn.Module] = {"sync": self.model}
        self.size_px = (int(self.model.config.height), int(self.model.config.width))
        prepared = load_recipe(DataRecipe, recipe.data_recipe, [f"output={recipe.data}"])
        self.data = pack_sync_data(prepared, recipe.mouths, self.size_px, recipe.voice_variants, recipe.seed)
        self.of_clip = self._sequences_of_clips()

    def loss(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The weighted sum, and how often the right window and the right shift are the nearest."""
        recipe = self.recipe
        crops, rows = self._batch(generator)
        pictures, sound = self.model(crops, rows)
        scale = self.model.log_scale.exp().clamp(max=100)
        within = torch.einsum("bid,bjd->bij", pictures, sound)
        everywhere = pictures.flatten(0, 1) @ sound.flatten(0, 1).T
        shifts = shift_similarity(within)
        losses = {
            "within": _both_ways(scale * within),
            "between": _both_ways(scale * everywhere[None]),
            # One number stands for many windows here: their mean is surer than each, so it counts for more.
            "shift": F.cross_entropy(2 * scale * shifts, torch.full((len(shifts),), MAX_SHIFT_FRAMES)),
        }
        total = (
            losses["within"]
            + recipe.between_weight * losses["between"]
            + recipe.shift_weight * losses["shift"]
        )
        right = torch.arange(within.shape[-1])
        return {
            "loss": total,
            **losses,
            "window_accuracy": (within.argmax(-1) == right).float().mean(),
            "shift_accuracy": ((shifts.argmax(-1) - MAX_SHIFT_FRAMES).abs() <= 1).float().mean(),
            "scale": scale,
        }

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the network as float16, with its hash: a folder that `SyncScorer` reads."""
        # Past `ModelMixin.half`, which warns of precision.
        nn.Module.half(copy.deepcopy(self.model)).save_pretrained(folder / "sync")
        write_hashes(folder / "sync")

    def _sequences_of_clips(self) -> dict[int, tuple[list[int], list[int]]]:
        """(real, driven) sequences that are long enough, by the clip whose sound they have."""
        data, found = self.data, dict[int, tuple[list[int], list[int]]]()
        for index, (clip, driven) in enumerate(zip(data.clips, data.driven, strict=True)):
            if data.num_frames(index) >= self.recipe.frames:
                found.setdefault(int(clip), ([], []))[bool(driven)].append(index)
        if len(found) < self.recipe.sequences:
            raise TrainingError(
                f"too few clips of {self.recipe.frames} frames or more in {self.recipe.mouths}",
                got=len(found),
                expected=f"{self.recipe.sequences}, one for each sequence of a step",
                fix="Prepare more clips, or set `sequences` lower",
            )
        return found

    def _batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crops (B, F, H, W) and rows (B, 4F + 1, 80), no two of one clip's sound."""
        recipe, data = self.recipe, self.data
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        crops, rows = [], []
        for clip in rng.choice(sorted(self.of_clip), recipe.sequences, replace=False):
            real, driven = self.of_clip[clip]
            wanted = driven if rng.random() < recipe.driven_share else real
            index = int(rng.choice(wanted or real or driven))
            start = int(rng.integers(data.num_frames(index) - recipe.frames + 1))
            first = int(data.starts[index]) + start
            crops.append(augment_pictures(data.crops[first : first + recipe.frames], self.size_px, rng))
            row = ROWS_PER_FRAME * (int(data.first_frames[index]) + start)
            variant = int(rng.integers(data.voices.shape[1]))
            voice = data.voices[clip, variant, row : row + rows_of_frames(recipe.frames)]
            rows.append(augment_sound(voice, rng))
        return torch.stack(crops), torch.stack(rows)


def _both_ways(logits_BNN: Tensor) -> Tensor:
    """Cross-entropy of each picture's sound and of each sound's picture; the diagonal is right."""
    right = torch.arange(logits_BNN.shape[-1]).expand(len(logits_BNN), -1)
    return (F.cross_entropy(logits_BNN.mT, right) + F.cross_entropy(logits_BNN, right)) / 2
