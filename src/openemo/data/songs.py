"""Speech features of a clip that was sung, and the frames of the clip that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.files import whole_file

__all__ = ["SUNG_FOLDER", "Song"]

SUNG_FOLDER: Final = "sung"
"""Within a folder of voices."""


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
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["frames"])
