"""Speech features that data preparation wrote: every clip in several voices, and sound without a voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.errors import TrainingError

__all__ = ["Voices", "load_voices", "pick_voice"]

Voices = dict[str, list[NDArray[np.float16]]]
"""(num_tokens, D) speech features of each clip in all variants; the key "" holds sound without a voice."""


def load_voices(folder: Path) -> Voices:
    """Reads NAME.VARIANT.npy files; "quiet" becomes the key ""."""
    voices: Voices = {}
    for path in sorted(folder.glob("*.npy")):
        name = path.name.split(".")[0]
        voices.setdefault("" if name == "quiet" else name, []).append(np.load(path))
    return voices


def pick_voice(voices: Voices, clip: str, rng: np.random.Generator) -> Tensor:
    """(num_tokens, D) float32 features of one of the clip's voices. Raises TrainingError without one."""
    variants = voices.get(clip)
    if not variants:
        raise TrainingError(
            f"no voice for the clip {clip!r}" if clip else "no sound without a voice",
            fix="Run `openemo data prepare` again: it completes what is missing",
        )
    return torch.from_numpy(variants[int(rng.integers(len(variants)))]).float()
