"""Mouths with their voices, varied: data of the sync stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openemo.data.data_recipe import DataRecipe
from openemo.errors import TrainingError
from openemo.models.sync_embedder import ROWS_PER_FRAME, rows_of_frames
from openemo.settings import load_recipe
from openemo.training.datasets.sync_augmentation import augment_audio, augment_pictures
from openemo.training.datasets.sync_data import pack_sync_data
from openemo.training.recipes import SyncRecipe

__all__ = ["SyncBatch", "SyncDataset"]


@dataclass(frozen=True)
class SyncBatch:
    """B sequences, each with the voice of another clip.

    Attributes:
        crops_BFHW: grey mouth crops, 0 to 255. rows_BTM: relative log-mel, four rows per frame and one more.
    """

    crops_BFHW: Tensor
    rows_BTM: Tensor


class SyncDataset:
    """Random parts of sequences that are long enough.

    Raises:
        TrainingError: nothing was prepared, or there are too few clips.
    """

    def __init__(self, recipe: SyncRecipe, size_px: tuple[int, int]) -> None:
        self.recipe, self.size_px = recipe, size_px
        prepared = load_recipe(DataRecipe, recipe.data_recipe, [f"output={recipe.data}"])
        self.data = pack_sync_data(prepared, recipe.mouths, size_px, recipe.voice_variants, recipe.seed)
        self.sequences_of_clips = self._sequences_of_clips()

    def draw(self, generator: torch.Generator) -> SyncBatch:
        """No two sequences have the audio of one clip."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        clips = rng.choice(sorted(self.sequences_of_clips), self.recipe.sequences, replace=False)
        crops, rows = zip(*(self._sequence(int(clip), rng) for clip in clips), strict=True)
        return SyncBatch(torch.stack(crops), torch.stack(rows))

    def _sequence(self, clip: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Crops (F, H, W) and rows (4F + 1, 80) of a sequence of this clip."""
        recipe, data = self.recipe, self.data
        real, driven = self.sequences_of_clips[clip]
        wanted = driven if rng.random() < recipe.driven_share else real
        index = int(rng.choice(wanted or real or driven))
        start = int(rng.integers(data.num_frames(index) - recipe.frames + 1))
        first = int(data.starts[index]) + start
        crops = augment_pictures(data.crops[first : first + recipe.frames], self.size_px, rng)
        row = ROWS_PER_FRAME * (int(data.first_frames[index]) + start)
        variant = int(rng.integers(data.voices.shape[1]))
        voice = data.voices[clip, variant, row : row + rows_of_frames(recipe.frames)]
        return crops, augment_audio(voice, rng)

    def _sequences_of_clips(self) -> dict[int, tuple[list[int], list[int]]]:
        """(real, driven) sequences that are long enough, by clip."""
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
