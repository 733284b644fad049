"""The result of the pipeline: frames that are made while they are read. Memory does not grow with length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openemo.audio import Audio
from openemo.video.video_writer import VideoWriter

__all__ = ["Animation", "Frame", "Progress"]

Frame = NDArray[np.uint8]
"""(height, width, 3) RGB; (height, width, 4) with opacity, not multiplied into the colours."""

Progress = Callable[[int, int], None]
"""Called with (units of work done, units in all) while frames are made."""


@dataclass(frozen=True, slots=True)
class Animation:
    """A video that is planned but not made: each iteration makes all frames anew, always the same.

    Attributes:
        num_frames, fps, width, height: of the video; round(duration of the sound x fps) frames.
        audio: the sound as it was given.
        transparent: frames have opacity as their fourth channel.
        seed: that was used, also where it was drawn.
        warnings: what the user should know, one sentence each ("3 faces were found; ...").
        make: starts the making of the frames.
    """

    num_frames: int
    fps: Fraction
    width: int
    height: int
    audio: Audio
    transparent: bool
    seed: int
    warnings: tuple[str, ...]
    make: Callable[[Progress | None], Iterator[Frame]]

    @property
    def duration_s(self) -> float:
        return float(self.num_frames / self.fps)

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[Frame]:
        return self.make(None)

    def save(self, path: str | Path, *, progress: Progress | None = None) -> Path:
        """Make the frames and write them with the sound. Raises OutputError; leaves no half-written file."""
        with VideoWriter(
            path,
            fps=self.fps,
            width=self.width,
            height=self.height,
            audio=self.audio,
            transparent=self.transparent,
        ) as writer:
            for frame in self.make(progress):
                writer.write(frame)
        return Path(path)
