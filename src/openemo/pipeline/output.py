"""The result of the pipeline: frames that are made while they are read. Memory does not grow with length."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.audio import Audio
from openemo.errors import ConfigError
from openemo.progress_bar import Bar
from openemo.provenance.frame_marker import FrameMarker
from openemo.provenance.marking import Marking
from openemo.provenance.origin import Origin
from openemo.provenance.plain_metadata import COMMENT
from openemo.provenance.sealing import Seal
from openemo.video.video_writer import VideoWriter

__all__ = ["Animation", "Frame", "Progress"]

Frame = NDArray[np.uint8]
"""(height, width, 3) RGB; (height, width, 4) with opacity, not multiplied into the colours."""

_log = logging.getLogger(__name__)

DEFAULT_MARKING: Final = Marking()

Progress = Callable[[int, int], None]
"""Called with (units of work done, units in all) while frames are made."""


@dataclass(frozen=True, slots=True)
class Animation:
    """A video that is planned but not made: each iteration makes all frames anew, always the same.

    Frames that are iterated over carry no mark; `save` and `written` mark them, see `Marking`.

    Attributes:
        num_frames, fps, width, height: of the video; round(duration of the sound x fps) frames.
        audio: the sound as it was given.
        transparent: frames have opacity as their fourth channel.
        seed: that was used, also where it was drawn.
        warnings: what the user should know, one sentence each ("3 faces were found; ...").
        origin: what it is made of and by, for its credentials.
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
    origin: Origin
    make: Callable[[Progress | None], Generator[Frame]]

    @property
    def duration_s(self) -> float:
        return float(self.num_frames / self.fps)

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[Frame]:
        return self.make(None)

    def save(
        self, path: str | Path, *, marking: Marking = DEFAULT_MARKING, progress: Progress | bool = False
    ) -> Path:
        """Make the frames and write them with the sound, in the format of the ending, see `VideoWriter`.

        Args:
            path: the video, or a pattern such as frames/%05d.png.
            marking: how the video says that it was made with AI. Watermark and badge are the same each
                time; signed credentials are not, because they hold their time and a fresh signature.
            progress: is called while frames are made, and may raise to end the work; True shows a bar, also
                in notebooks.

        Raises:
            OutputError: it cannot be written. No half-written file stays, whatever is raised.
            ConfigError: the certificate cannot be used.
        """
        with ExitStack() as stack:
            if progress is True:
                progress = stack.enter_context(Bar("animating", disable=False))
            for _ in self.written(path, marking=marking, progress=progress or None):
                pass
        return Path(path)

    def written(
        self, path: str | Path, *, marking: Marking = DEFAULT_MARKING, progress: Progress | None = None
    ) -> Generator[Frame]:
        """As `save`; gives each frame as it was written. The file appears after the last one.

        Closed before that, it leaves no file.
        """
        seal = Seal.of(marking, self.origin, Path(path))
        if seal.note is not None:
            _log.warning(seal.note)
        marker = self.marker(marking)
        with (
            closing(self.make(progress)) as frames,
            VideoWriter(
                path,
                fps=self.fps,
                width=self.width,
                height=self.height,
                audio=self.audio,
                transparent=self.transparent,
                comment=COMMENT if marking.credentials else None,
                seal=seal,
            ) as writer,
        ):
            for frame in frames:
                marked = marker.mark(frame)
                writer.write(marked)
                yield marked

    def marker(self, marking: Marking = DEFAULT_MARKING) -> FrameMarker:
        """Marks frames that are shown or written elsewhere."""
        return FrameMarker(marking, mark_id=self.origin.mark_id, fps=self.fps)

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
