"""When people blink, over many clips: one clip has too few blinks to say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from openemo.arrays import Doubles
from openemo.evaluation.metrics.frame_statistics import mean, ratio, spread
from openemo.evaluation.metrics.life import find_blinks

__all__ = ["BlinkTiming", "SeenEyes", "blink_timing"]

_NEAR_END_S: Final = (-0.2, 0.5)  # a blink that belongs to the end of a phrase starts then
_MIN_INTERVALS: Final = 8
_LEAST_RANGE: Final = 1e-6


@dataclass(frozen=True, eq=False)
class SeenEyes:
    """One clip: opening_F of the eyes, NaN in frames without a face, and where phrases end."""

    opening_F: Doubles
    phrase_ends_s: Doubles
    fps: float


@dataclass(frozen=True)
class BlinkTiming:
    """Over all clips; NaN for what too few blinks say.

    Attributes:
        per_min: of the frames with a face.
        first_s: median time of the first blink; first_spread_s: its standard deviation between clips.
        duration_s: mean.
        interval_cv: standard deviation of the times between blinks of a clip over their mean. Regular blinks
            have 0, independent ones 1.
        interval_log_skew: skewness of their logarithms, 0 for log-normal ones. In short clips long times are
            cut off, which makes it negative.
        near_phrase_ends: share of blinks from 0.2 s before to 0.5 s after the end of a phrase, over the share
            of time that is that near: 1 by chance.
    """

    per_min: float
    first_s: float
    first_spread_s: float
    duration_s: float
    interval_cv: float
    interval_log_skew: float
    near_phrase_ends: float


def blink_timing(clips: Sequence[SeenEyes]) -> BlinkTiming:
    """Blinks by `find_blinks`, of all clips together."""
    found = [find_blinks(clip.opening_F, clip.fps) for clip in clips]
    seen_s = sum(float(np.isfinite(clip.opening_F).sum()) / clip.fps for clip in clips)
    firsts = np.array([blinks[0, 0] for blinks in found if len(blinks)])
    intervals = np.concatenate([np.zeros(0), *(np.diff(blinks[:, 0]) for blinks in found)])
    durations = np.concatenate([np.zeros(0), *(blinks[:, 1] for blinks in found)])
    enough = len(intervals) >= _MIN_INTERVALS
    return BlinkTiming(
        per_min=ratio(len(durations) * 60, seen_s),
        first_s=float(np.median(firsts)) if len(firsts) else float("nan"),
        first_spread_s=spread(firsts),
        duration_s=mean(durations),
        interval_cv=ratio(spread(intervals), mean(intervals)) if enough else float("nan"),
        interval_log_skew=_skew(np.log(intervals)) if enough else float("nan"),
        near_phrase_ends=_near_phrase_ends(clips, found),
    )


def _skew(values: Doubles) -> float:
    """NaN for values that hardly differ, whose skewness is rounding."""
    return float(stats.skew(values)) if np.ptp(values) > _LEAST_RANGE else float("nan")


def _near_phrase_ends(clips: Sequence[SeenEyes], found: Sequence[Doubles]) -> float:
    frames = blinks = near_frames = near_blinks = 0
    for clip, starts in zip(clips, (blink[:, 0] for blink in found), strict=True):
        times = np.flatnonzero(np.isfinite(clip.opening_F)) / clip.fps
        frames, blinks = frames + len(times), blinks + len(starts)
        near_frames += int(_is_near(times, clip.phrase_ends_s).sum())
        near_blinks += int(_is_near(starts, clip.phrase_ends_s).sum())
    return ratio(ratio(near_blinks, blinks), ratio(near_frames, frames))


def _is_near(times_s: Doubles, ends_s: Doubles) -> Doubles:
    after = times_s[:, None] - ends_s[None]
    return np.asarray(((after >= _NEAR_END_S[0]) & (after <= _NEAR_END_S[1])).any(axis=1), np.float64)
