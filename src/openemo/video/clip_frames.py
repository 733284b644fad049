"""Frames of a clip in which motion is measured: with their times, no more and no larger than needed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import BinaryIO, Final, NamedTuple

import av

from openemo.arrays import Image
from openemo.audio.media_file import decoded_frames, open_media
from openemo.decoding_limits import DecodingLimits
from openemo.errors import InputError
from openemo.video.video_reader import FORMATS, check_has_picture, to_rgb, unreadable

__all__ = ["CLOCK_STEP_S", "MAX_CLIP_SIDE_PX", "MIN_CLIP_STEP_S", "TimedFrame", "decode_clip"]

MAX_CLIP_SIDE_PX: Final = 1920
"""Larger frames are made smaller: landmarks of a face in HD are as good."""
MIN_CLIP_STEP_S: Final = 0.024
"""Frames that come sooner are left out: of 60 per second, every second one."""

CLOCK_STEP_S: Final = 0.004
"""The same where frames are read on the file's clock: all but those that nobody sees are given."""

_THREADS: Final = 4  # each holds frames of its own


class TimedFrame(NamedTuple):
    """A frame, (height, width, 3) uint8 RGB, upright, and when it is shown, seconds from the first one."""

    time_s: float
    image: Image


def decode_clip(
    source: bytes | BinaryIO, name: str, limits: DecodingLimits, *, max_s: float, start_s: float | None = None
) -> Iterator[TimedFrame]:
    """The first `max_s` seconds of a video, one frame at a time in memory. Times increase.

    Damaged packets are left out with a warning.

    Args:
        name: for the errors.
        start_s: None counts from the first frame. A number counts on the file's own clock, as `decode_audio`
            does, from there to `max_s`; the frame that is shown at `start_s` comes first, with that time.

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
            timed = _timed(container, stream, name, limits)
            if start_s is None:
                yield from _from_the_first(timed, name, max_s)
            else:
                if start_s > 0:
                    _seek(container, start_s)
                origin_s = (container.start_time or 0) / av.time_base
                yield from _from_the_start(timed, origin_s, start_s, max_s)


def _timed(
    container: av.container.InputContainer, stream: av.VideoStream, name: str, limits: DecodingLimits
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames and their times; of a file without times, as its rate says."""
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    for number, frame in enumerate(decoded_frames(container, stream, av.VideoFrame, name)):
        _check_size(frame.width, frame.height, name, limits)
        yield float(number / rate) if frame.time is None else frame.time, frame


def _from_the_first(
    timed: Iterator[tuple[float, av.VideoFrame]], name: str, max_s: float
) -> Iterator[TimedFrame]:
    first_s = last_s = None
    for shown_s, frame in timed:
        first_s = shown_s if first_s is None else first_s
        time_s = shown_s - first_s
        if time_s >= max_s:
            return
        if last_s is None or time_s - last_s >= MIN_CLIP_STEP_S:
            last_s = time_s
            yield TimedFrame(time_s, to_rgb(frame, MAX_CLIP_SIDE_PX))
    if last_s is None:
        raise InputError(f"{name} has no frames", expected="a video", fix=FORMATS)


def _from_the_start(
    timed: Iterator[tuple[float, av.VideoFrame]], origin_s: float, start_s: float, stop_s: float
) -> Iterator[TimedFrame]:
    """Frames from `start_s` on. What came last before it is shown then, and is converted only if it is."""
    waiting: av.VideoFrame | None = None
    last_s = -CLOCK_STEP_S
    for clock_s, frame in timed:
        time_s = clock_s - origin_s
        if time_s >= stop_s:
            break
        if time_s <= start_s:
            waiting = frame
            continue
        if waiting is not None:
            last_s = start_s
            yield TimedFrame(start_s, to_rgb(waiting, MAX_CLIP_SIDE_PX))
            waiting = None
        if time_s - last_s >= CLOCK_STEP_S:
            last_s = time_s
            yield TimedFrame(time_s, to_rgb(frame, MAX_CLIP_SIDE_PX))
    if waiting is not None:
        yield TimedFrame(start_s, to_rgb(waiting, MAX_CLIP_SIDE_PX))


def _seek(container: av.container.InputContainer, time_s: float) -> None:
    """Goes to the last key frame before a time; a file that has no index is read from its start."""
    with suppress(av.FFmpegError, OSError, ValueError):
        container.seek(round(time_s * av.time_base) + (container.start_time or 0), backward=True)


def _check_size(width: int, height: int, name: str, limits: DecodingLimits) -> None:
    if width * height > limits.max_pixels:
        raise InputError(
            f"the frames of {name} are too large",
            got=f"{width}x{height}",
            expected=f"at most {limits.max_pixels:,} pixels",
            fix="Save the video smaller",
        )
