"""Conversions between seconds, samples, speech tokens, frames and clips. All such conversions are made here.

They are exact: frame rates are fractions and halves round up, so no error grows with the duration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from openemo.errors import ConfigError

__all__ = [
    "Anchor",
    "ClipSpan",
    "covering_frames",
    "frame_time_s",
    "frame_to_sample",
    "frames_at_rate",
    "num_frames",
    "parse_fps",
    "plan_clips",
    "speech_window_start",
]

Anchor = Literal["middle", "start"]
"""The moment of a frame that its speech window is centred on."""

MIN_FPS = 1
MAX_FPS = 120
# Decimal forms of N * 1000 / 1001 are rounded ("23.98" is off by 0.004). No other usual rate is this close.
_NTSC_TOLERANCE = Fraction(1, 200)


def parse_fps(value: float | str | Fraction) -> Fraction:
    """The exact frame rate in frames per second, 1 to 120.

    Decimal NTSC rates become the fractions that they mean: 29.97 is 30000/1001. Strings may be "25", "29.97"
    or "30000/1001".

    Raises:
        ConfigError: not a number, or out of range.
    """
    expected = f'a number from {MIN_FPS} to {MAX_FPS}, such as 25, 29.97 or "30000/1001"'
    try:
        # Through the decimal text, because 29.97 as a binary float is not 29.97.
        fps = value if isinstance(value, Fraction) else Fraction(str(value).strip())
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError("the frame rate is not a number", got=repr(value), expected=expected) from error
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ConfigError("the frame rate is out of range", got=value, expected=expected)
    ntsc = Fraction(math.ceil(fps) * 1000, 1001)
    if fps.denominator != 1 and abs(fps - ntsc) <= _NTSC_TOLERANCE:
        return ntsc
    return fps.limit_denominator(1001)


def _round_half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def num_frames(num_samples: int, sample_rate_hz: int, fps: Fraction) -> int:
    """Frames of a video as long as the audio: round(duration * fps); 0 for less than half a frame."""
    return _round_half_up(Fraction(num_samples, sample_rate_hz) * fps)


def covering_frames(num_samples: int, sample_rate_hz: int, fps: Fraction) -> int:
    """Frames that cover the audio to its end: duration * fps rounded up, as Hallo counts them.

    Computed in floating point and in this order, because the published weights were trained so: 0.28 s at
    25 fps are 8 frames, since 0.28 * 25 is slightly over 7 in floating point.
    """
    return math.ceil(num_samples / sample_rate_hz * float(fps))


def frame_time_s(frame: int, fps: Fraction) -> Fraction:
    """Time at which the frame appears."""
    return Fraction(frame) / fps


def frame_to_sample(frame: int, fps: Fraction, sample_rate_hz: int) -> int:
    """The sample that is played when the frame appears."""
    return _round_half_up(frame_time_s(frame, fps) * sample_rate_hz)


def frames_at_rate(num_frames: int, fps: Fraction, target_fps: Fraction) -> list[int]:
    """For each frame of a video of the same length at `target_fps`: the frame shown at its middle."""
    count = _round_half_up(Fraction(num_frames) / fps * target_fps)
    return [
        min(math.floor((index + Fraction(1, 2)) / target_fps * fps), num_frames - 1) for index in range(count)
    ]


def speech_window_start(
    frame: int,
    fps: Fraction,
    feature_rate_hz: int | Fraction,
    window_tokens: int,
    anchor: Anchor = "middle",
) -> int:
    """First speech token of the window around the frame; negative near the start.

    Token i covers [i, i + 1) / feature_rate_hz. At 25 fps, 50 Hz and 10 tokens the window of frame k starts
    at 2k - 4: it has the two tokens of each of the frames k - 2 .. k + 2, A(f) with m = 2 of EMO 3.2.

    Args:
        anchor: "middle" centres the window on the middle of the frame. "start" centres it on the token at the
            start of the frame, with one token fewer before than after it if the window is even (EchoMimic).
            At 25 fps, 50 Hz and 10 tokens both give the same window.
    """
    if anchor == "start":
        return math.floor(Fraction(frame) / fps * feature_rate_hz) - (window_tokens - 1) // 2
    middle_tokens = (frame + Fraction(1, 2)) / fps * feature_rate_hz
    return _round_half_up(middle_tokens - Fraction(window_tokens, 2))


@dataclass(frozen=True, slots=True)
class ClipSpan:
    """Frames start .. stop - 1 of the video, which are generated together."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def plan_clips(num_frames: int, clip_frames: int) -> list[ClipSpan]:
    """Splits the video into clips in order: each frame is in exactly one, and only the last may be shorter.

    Raises:
        ConfigError: a negative number of frames, or clips of no frame.
    """
    if num_frames < 0:
        raise ConfigError("the number of frames is negative", got=num_frames, expected="0 or more")
    if clip_frames < 1:
        raise ConfigError("the clip length is too small", got=clip_frames, expected="1 frame or more")
    return [ClipSpan(s, min(s + clip_frames, num_frames)) for s in range(0, num_frames, clip_frames)]
