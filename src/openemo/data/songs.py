"""Speech features of a clip that was sung, and the frames of the clip that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.array_files import ArrayKind, read_arrays
from openemo.files import whole_file

__all__ = ["SUNG_FOLDER", "Song"]

SUNG_FOLDER: Final = "sung"
"""Within a folder of voices."""
_KINDS: Final = {"tokens": ArrayKind(np.float16, (None, None)), "frames": ArrayKind(np.float64, (None,))}


@dataclass(frozen=True, slots=True, eq=False)
class Song:
    """One clip, sung.

    Attributes:
        tokens: (num_tokens, D) float16 speech features.
        frames: (F,) frame of the clip for each frame of the song; fractions lie between two frames.
    """

    tokens: NDArray[np.float16]
    frames: NDArray[np.float64]

    def save(self, path: Path) -> None:
        with whole_file(path) as file:
            np.savez(file, tokens=self.tokens, frames=self.frames)

    @classmethod
    def load(cls, path: Path) -> Song:
        """Raises TrainingError if the file is damaged."""
        return cls(**read_arrays(path, _KINDS))
