"""Shapes that movements are made of, on a time line in seconds.

Shape letters: T moments, N movements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from openemo.arrays import Doubles, Floats

__all__ = ["Lag", "Pulse", "ease", "glide", "nearest_event", "smoothed", "soft_limit"]


def ease(progress: Floats) -> Doubles:
    """0 to 1 with the least jerk, as arms and eyes move (Flash and Hogan 1985); still before and after."""
    x = np.clip(np.asarray(progress, np.float64), 0, 1)
    return np.asarray(x**3 * (10 - 15 * x + 6 * x**2))


@dataclass(frozen=True, slots=True)
class Pulse:
    """From 0 up to a size, held, and back to 0."""

    start_s: float
    rise_s: float
    hold_s: float
    fall_s: float
    size: float = 1.0

    def add_to(self, track: Doubles, times_s: Doubles) -> None:
        """Adds itself to a track (T,)."""
        part, shape = self._shape(times_s)
        track[part] += shape

    def raise_to(self, track: Doubles, times_s: Doubles) -> None:
        """The track (T,) becomes the larger one of both."""
        part, shape = self._shape(times_s)
        track[part] = np.maximum(track[part], shape)

    @property
    def end_s(self) -> float:
        return self.start_s + self.rise_s + self.hold_s + self.fall_s

    def _shape(self, times_s: Doubles) -> tuple[slice, Doubles]:
        first, last = np.searchsorted(times_s, (self.start_s, self.end_s))
        since = times_s[first:last] - self.start_s
        falling = ease((since - self.rise_s - self.hold_s) / self.fall_s)
        return slice(first, last), self.size * ease(since / self.rise_s) * (1 - falling)


def glide(times_s: Doubles, starts_s: Sequence[float], lasts_s: Sequence[float], targets: Floats) -> Doubles:
    """(T, D) from zero to each of the targets (N, D) in turn. Each is reached before the next starts."""
    before = np.concatenate([np.zeros((1, targets.shape[1])), targets])
    index = np.searchsorted(np.asarray(starts_s), times_s, side="right") - 1
    if not len(targets):
        return np.zeros((len(times_s), targets.shape[1]))
    known = np.maximum(index, 0)
    progress = ease((times_s - np.asarray(starts_s)[known]) / np.asarray(lasts_s)[known])[:, None]
    track = before[known] + progress * (before[known + 1] - before[known])
    return np.where(index[:, None] >= 0, track, 0)


def smoothed(values: Floats, sigma_s: float, rate_hz: float) -> Doubles:
    """Along the first axis, without delay."""
    return np.asarray(
        gaussian_filter1d(np.asarray(values, np.float64), sigma_s * rate_hz, axis=0, mode="nearest")
    )


class Lag:
    """Smooths values as they come, by a low-pass filter of first order.

    Args:
        time_s: its time constant.
        start: what it starts from.
    """

    def __init__(self, time_s: float, rate_hz: float, start: float = 0.0) -> None:
        self._kept = float(np.exp(-1 / (time_s * rate_hz)))
        self._value = start

    def __call__(self, values: Floats) -> Doubles:
        """(T,) the next values."""
        smooth = np.empty(len(values))
        for index, value in enumerate(values):
            self._value = self._kept * self._value + (1 - self._kept) * float(value)
            smooth[index] = self._value
        return smooth


def soft_limit(values: Floats, low: float, high: float) -> Doubles:
    """Never beyond the limits; unchanged up to half of them."""
    half = np.where(values < 0, -low, high) / 2
    excess = np.maximum(np.abs(values) / half - 1, 0)
    return np.asarray(np.sign(values) * half * (np.minimum(np.abs(values) / half, 1) + np.tanh(excess)))


def nearest_event(moment_s: float, events_s: Doubles, reach_s: float) -> float | None:
    """The event that is nearest to a moment, if it is within reach."""
    if not len(events_s):
        return None
    nearest = float(events_s[np.argmin(np.abs(events_s - moment_s))])
    return nearest if abs(nearest - moment_s) <= reach_s else None
