"""Frames of any rate, also a variable one, at 25 per second on the file's own clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from openemo.arrays import Image
from openemo.corpus.build_settings import FPS
from openemo.video.clip_frames import TimedFrame

__all__ = ["steady_frames"]

_LONGEST_S: Final = 0.5
"""A frame that is shown for longer stands before a gap: nothing was filmed there."""


def steady_frames(frames: Iterable[TimedFrame], start_s: float, stop_s: float) -> Iterator[tuple[int, Image]]:
    """Number and picture of each frame at 25 per second; numbers are left out in gaps.

    Frame k is what is shown at (k + 1/2) / 25 seconds of the file's clock. So it is off by half a frame at
    most, and by no more after hours.

    Args:
        frames: in order, on the file's clock.
        start_s, stop_s: frames whose middle is between these are given.
    """
    following, stop = max(0, _first_at(start_s)), _first_at(stop_s)
    shown: TimedFrame | None = None
    step_s = 1 / FPS
    for frame in frames:
        starts = _first_at(frame.time_s)
        if shown is not None:
            step_s = frame.time_s - shown.time_s
            for number in range(following, min(starts, stop, _first_at(shown.time_s + _LONGEST_S))):
                yield number, shown.image
        following, shown = max(following, starts), frame
    if shown is not None:
        for number in range(following, min(stop, _first_at(shown.time_s + min(step_s, _LONGEST_S)))):
            yield number, shown.image


def _first_at(time_s: float) -> int:
    """The first frame whose middle is at this time or later. A millionth is rounding of the clock."""
    return -int((0.5 - time_s * FPS + 1e-6) // 1)
