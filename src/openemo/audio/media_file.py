"""Opens a sound or video file, and nothing beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import av
from av.container import InputContainer

__all__ = ["DECODER_ERRORS", "decoded_frames", "open_media"]

logger = logging.getLogger(__name__)

DECODER_ERRORS: Final = (
    *(OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, BufferError, RuntimeError),
)
"""What FFmpeg's wrapper raises on damaged files, beside FFmpeg's own errors."""

_Frame = TypeVar("_Frame", av.AudioFrame, av.VideoFrame)
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


def decoded_frames(
    container: InputContainer, stream: av.AudioStream | av.VideoStream, kind: type[_Frame], name: str
) -> Iterator[_Frame]:
    """Decoded frames of a sound or picture. Damaged packets are skipped, with one warning."""
    num_damaged = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            for frame in packet.decode():
                if isinstance(frame, kind):
                    yield frame
        except av.error.InvalidDataError:
            num_damaged += 1
    if num_damaged:
        what = "sound" if stream.type == "audio" else "the picture"
        logger.warning("%s is damaged: %d packets of %s were skipped", name, num_damaged, what)
