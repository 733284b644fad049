"""Frames of a clip in which motion is measured: with their times, no more and no larger than needed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, Final, NamedTuple

import av

from openemo.arrays import Image
from openemo.audio.media_file import decoded_frames, open_media
from openemo.decoding_limits import DecodingLimits
from openemo.errors import InputError
from openemo.video.video_reader import FORMATS, check_has_picture, to_rgb, unreadable

__all__ = ["MAX_CLIP_SIDE_PX", "MIN_CLIP_STEP_S", "TimedFrame", "decode_clip"]

MAX_CLIP_SIDE_PX: Final = 1920
"""Larger frames are made smaller: landmarks of a face in HD are as good."""
MIN_CLIP_STEP_S: Final = 0.024
"""Frames that come sooner are left out: of 60 per second, every second one."""

_THREADS: Final = 4  # each holds frames of its own


class TimedFrame(NamedTuple):
    """A frame, (height, width, 3) uint8 RGB, upright, and when it is shown, seconds from the first one."""

    time_s: float
    image: Image


def decode_clip(
    source: bytes | BinaryIO, name: str, limits: DecodingLimits, *, max_s: float
) -> Iterator[TimedFrame]:
    """The first `max_s` seconds of a video, one frame at a time in memory. Times increase.

    Damaged packets are left out with a warning.

    Args:
        name: for the errors.

    Raises:
        InputError: not a media file, without a picture, or over `limits.max_pixels`.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with unreadable(name):
        file.seek(0)
        with open_media(file) as container:
            check_has_picture(container, name)
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "AUTO", _THREADS
            _check_size(stream.width, stream.height, name, limits)
            yield from _at_times(container, stream, name, limits, max_s)


def _at_times(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    name: str,
    limits: DecodingLimits,
    max_s: float,
) -> Iterator[TimedFrame]:
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    first_s = last_s = None
    for number, frame in enumerate(decoded_frames(container, stream, av.VideoFrame, name)):
        _check_size(frame.width, frame.height, name, limits)
        time_s = float(number / rate) if frame.time is None else frame.time
        first_s = time_s if first_s is None else first_s
        time_s -= first_s
        if time_s >= max_s:
            return
        if last_s is None or time_s - last_s >= MIN_CLIP_STEP_S:
            last_s = time_s
            yield TimedFrame(time_s, to_rgb(frame, MAX_CLIP_SIDE_PX))
    if last_s is None:
        raise InputError(f"{name} has no frames", expected="a video", fix=FORMATS)


def _check_size(width: int, height: int, name: str, limits: DecodingLimits) -> None:
    if width * height > limits.max_pixels:
        raise InputError(
            f"the frames of {name} are too large",
            got=f"{width}x{height}",
            expected=f"at most {limits.max_pixels:,} pixels",
            fix="Save the video smaller",
        )
