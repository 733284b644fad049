"""The result of the pipeline: frames that are made while they are read. Memory does not grow with length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from openemo.audio import Audio
from openemo.errors import ConfigError
from openemo.progress_bar import Bar
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

    def save(self, path: str | Path, *, progress: Progress | bool = False) -> Path:
        """Make the frames and write them with the sound, in the format of the ending, see `VideoWriter`.

        Args:
            path: the video, or a pattern such as frames/%05d.png.
            progress: is called while frames are made, and may raise to end the work; True shows a bar, also
                in notebooks.

        Raises:
            OutputError: it cannot be written. No half-written file stays, whatever is raised.
        """
        with ExitStack() as stack:
            if progress is True:
                progress = stack.enter_context(Bar("animating", disable=False))
            self._write(path, progress or None)
        return Path(path)

    def display(self, *, width: int | None = None, progress: bool = True) -> None:
        """Make the video and show it in a notebook, with its sound; it stays in the notebook's file.

        Args:
            width: px on the page; None is the video's own.
            progress: show a bar meanwhile.

        Raises:
            ConfigError: IPython is not installed.
        """
        try:
            from IPython.display import Video, display
        except ImportError as error:
            raise ConfigError("`display` needs IPython", fix="pip install 'openemo[notebooks]'") from error
        kind = "webm" if self.transparent else "mp4"
        with TemporaryDirectory() as folder:
            data = self.save(Path(folder) / f"video.{kind}", progress=progress).read_bytes()
        display(Video(data=data, embed=True, mimetype=f"video/{kind}", width=width))

    def _write(self, path: str | Path, progress: Progress | None) -> None:
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
