"""Opens a sound or video file, and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

__all__ = ["open_media"]

_OPTIONS = {"protocol_whitelist": "none"}


@contextmanager
def open_media(source: str | Path | BinaryIO) -> Iterator[InputContainer]:
    """The container of a media file, for reading.

    FFmpeg gets the open file, because it reads a protocol out of a name such as `take:1.wav`. It may use no
    protocol itself. So a playlist opens neither the files nor the addresses that it names. Tags
    may have any encoding.

    Raises:
        OSError: there is no such file, or it cannot be read.
        av.FFmpegError: it is not a media file, or a playlist.
    """
    with ExitStack() as stack:
        file = stack.enter_context(Path(source).open("rb")) if isinstance(source, str | Path) else source
        yield stack.enter_context(av.open(file, "r", options=_OPTIONS, metadata_errors="replace"))
