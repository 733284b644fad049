"""Speech features of synthetic voices, and what their articulators do: data of the articulation stage.

Shape letters: B utterances, N tokens, D speech features, K articulatory features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openemo.arrays import Doubles
from openemo.audio.whisper import TOKEN_RATE_HZ
from openemo.data.spoken import load_utterance
from openemo.data.visemes import articulate, raised_tongue
from openemo.errors import TrainingError
from openemo.training.datasets.voice_files import load_voices, pick_voice
from openemo.training.recipes import ArticulationRecipe

__all__ = ["ArticulationBatch", "ArticulationDataset"]

_QUIET: Final = ""


@dataclass(frozen=True)
class ArticulationBatch:
    """Utterances of different lengths.

    Attributes:
        audio_BND: speech features. target_BNK: 0 to 1. weight_BN: 0 beyond the end of an utterance.
    """

    audio_BND: Tensor
    target_BNK: Tensor
    weight_BN: Tensor


class ArticulationDataset:
    """Utterances in one of their voices, or sound without a voice.

    Raises:
        TrainingError: there are no utterances.
    """

    def __init__(self, recipe: ArticulationRecipe) -> None:
        self.recipe = recipe
        self.voices = load_voices(recipe.data / "voices")
        paths = sorted((recipe.data / "utterances").glob("*.wav"))
        self.targets = {path.stem: _targets(path) for path in paths if path.stem in self.voices}
        if not self.targets:
            raise TrainingError(
                f"no synthetic voices in {recipe.data}",
                fix="Run `openemo data prepare` with `spoken_sequences` first",
            )

    def draw(self, generator: torch.Generator) -> ArticulationBatch:
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        parts = [self._utterance(rng) for _ in range(self.recipe.utterances)]
        audio, target = ([part[index] for part in parts] for index in (0, 1))
        weights = [torch.ones(len(each)) for each in audio]
        return ArticulationBatch(*(pad_sequence(each, batch_first=True) for each in (audio, target, weights)))

    def _utterance(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(N, D) and (N, K) of one."""
        names = list(self.targets)
        if rng.random() < self.recipe.quiet_share:
            audio_ND = pick_voice(self.voices, _QUIET, rng)
            return audio_ND, torch.zeros(len(audio_ND), 2)
        name = names[int(rng.integers(len(names)))]
        audio_ND = pick_voice(self.voices, name, rng)
        target_NK = torch.from_numpy(self.targets[name]).float()[: len(audio_ND)]
        return audio_ND[: len(target_NK)], target_NK


def _targets(path: Path) -> Doubles:
    """(N, K) of an utterance, in the order of `FEATURES`."""
    utterance = load_utterance(path)
    times_s: Doubles = np.arange(int(utterance.duration_s * TOKEN_RATE_HZ), dtype=np.float64) / TOKEN_RATE_HZ
    gains = np.ones(len(utterance.phones))
    shut_N = articulate(utterance.phones, gains, times_s).shut_F
    return np.stack([raised_tongue(utterance.phones, times_s), shut_N], 1)
