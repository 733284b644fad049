"""Speech features that data preparation wrote: every clip in several voices, and audio without a voice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.array_files import ArrayKind, read_array
from openemo.data.songs import SUNG_FOLDER, Song
from openemo.errors import TrainingError

__all__ = ["Voices", "concatenate_features", "load_songs", "load_voices", "pick_voice"]

_KIND: Final = ArrayKind(np.float16, (None, None))
Voices = dict[str, list[NDArray[np.float16]]]
"""(num_tokens, D) speech features of each clip in all variants; the key "" holds audio without a voice."""


def load_voices(folder: Path) -> Voices:
    """Reads NAME.VARIANT.npy files; "quiet" becomes the key "". Raises TrainingError if one is damaged."""
    voices: Voices = {}
    for path in sorted(folder.glob("*.npy")):
        name = path.name.split(".")[0]
        voices.setdefault("" if name == "quiet" else name, []).append(read_array(path, _KIND))
    return voices


def load_songs(folder: Path) -> dict[str, list[Song]]:
    """All songs of each clip, from the folder of songs within a folder of voices.

    Raises:
        TrainingError: there are none.
    """
    songs: dict[str, list[Song]] = {}
    for path in sorted((folder / SUNG_FOLDER).glob("*.npz")):
        songs.setdefault(path.name.split(".")[0], []).append(Song.load(path))
    if not songs:
        raise TrainingError(
            f"no songs in {folder / SUNG_FOLDER}",
            fix="Run `openemo data prepare` with `sung_variants`, or train with `sung_share: 0`",
        )
    return songs


def concatenate_features(voices: Voices, others: Voices) -> Voices:
    """(num_tokens, D + D') features: the same sounds as two encoders coded them.

    Raises:
        TrainingError: the sounds are not the same.
    """
    counts, other_counts = ({name: len(kept) for name, kept in each.items()} for each in (voices, others))
    if counts != other_counts:
        differing = sorted(dict(counts.items() ^ other_counts.items()))
        raise TrainingError(
            "two folders of voices do not hold the same sounds",
            got=f"{len(differing)} that differ, such as {differing[0]!r}",
            fix="Prepare both with the same recipe but for `speech_layers` and `voices_name`",
        )
    return {
        name: [np.concatenate(pair, -1) for pair in zip(kept, others[name], strict=True)]
        for name, kept in voices.items()
    }


def pick_voice(voices: Voices, clip: str, rng: np.random.Generator) -> Tensor:
    """(num_tokens, D) float32 features of one of the clip's voices. Raises TrainingError without one."""
    variants = voices.get(clip)
    if not variants:
        raise TrainingError(
            f"no voice for the clip {clip!r}" if clip else "no audio without a voice",
            fix="Run `openemo data prepare` again: it completes what is missing",
        )
    return torch.from_numpy(variants[int(rng.integers(len(variants)))]).float()
