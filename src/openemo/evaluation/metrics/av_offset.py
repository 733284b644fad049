"""Offset between picture and sound that a file adds by its timestamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

from openemo.audio.media_file import open_media
from openemo.errors import InputError

__all__ = ["picture_delay_ms"]


def picture_delay_ms(path: Path) -> float:
    """Time from the start of the file's clock to the first frame, in milliseconds.

    `read_audio` gives samples on that clock and `read_frames` counts frames, so this is the offset that the
    timestamps add between the two. AAC can add another one that no timestamp declares. That is why made
    videos are measured with PCM sound.

    Raises:
        InputError: the file cannot be read, or has no picture.
    """
    try:
        with open_media(path) as container:
            first = next(container.decode(video=0), None) if container.streams.video else None
            if first is None or first.time is None:
                raise InputError(f"{path} has no picture", expected="a video")
            origin_s = Fraction(container.start_time or 0, av.time_base)
            return float(1000 * (first.time - origin_s))
    except (av.FFmpegError, OSError) as error:
        raise InputError(f"{path} cannot be read as video", got=error.strerror) from error
