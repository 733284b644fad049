"""Blinks: log-normal intervals, at ends of phrases and with large shifts of gaze, each eye of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.behaviour.curves import Pulse, nearest_event

__all__ = ["LiveBlinks", "blink_tracks", "draw_blinks_s"]

# VanderWerf 2003, Trutoiu 2011. Eyes are 8 to 20 ms apart there. A camera's exposure blurs that; a frame that
# is drawn for one moment would show one lid a third of its way ahead of the other.
_CLOSING_S, _OPENING_S, _HOLDS_S, _APART_S = 0.09, 0.24, (0.01, 0.05), (0.001, 0.005)
_INTERVAL_SPREAD: Final = 0.65  # of the logarithm
_SHORTEST_S: Final = 0.45  # from blink to blink
_FIRST_S: Final = 0.3
_TO_PHRASE_END_S, _TO_GAZE_S, _DRAWN = 0.7, 0.45, 0.75  # how far a blink is drawn to events, and how often
_GAZE_LEAD_S: Final = 0.03  # lids start a little before the eyes


def draw_blinks_s(
    duration_s: float,
    per_minute: float,
    phrase_ends_s: Doubles,
    gaze_shifts_s: Doubles,
    rng: np.random.Generator,
) -> Doubles:
    """(B,) when each blink starts.

    Args:
        per_minute: mean number; 0 for none.
        phrase_ends_s, gaze_shifts_s: what blinks go with if it is near.
    """
    if per_minute <= 0:
        return np.zeros(0)
    mean_s = 60 / per_minute
    due_s = _FIRST_S + rng.uniform() * mean_s
    starts_s: list[float] = []
    while due_s < duration_s:
        draw, delay_s = rng.random(), rng.uniform(-0.1, 0.15)
        start_s = due_s
        if draw < _DRAWN:
            shift_s = nearest_event(due_s, gaze_shifts_s, _TO_GAZE_S)
            end_s = nearest_event(due_s, phrase_ends_s, _TO_PHRASE_END_S)
            if end_s is not None:
                start_s = end_s + delay_s
            elif shift_s is not None:
                start_s = shift_s - _GAZE_LEAD_S
        earliest_s = starts_s[-1] + _SHORTEST_S if starts_s else _FIRST_S
        starts_s.append(max(start_s, earliest_s))
        factor = np.exp(_INTERVAL_SPREAD * rng.standard_normal() - _INTERVAL_SPREAD**2 / 2)
        due_s += _SHORTEST_S + max(0.1, mean_s - _SHORTEST_S) * factor
    return np.array([start_s for start_s in starts_s if start_s < duration_s])


def blink_tracks(starts_s: Doubles, times_s: Doubles, fps: float, rng: np.random.Generator) -> Doubles:
    """(F, 2) how far each eye is closed.

    A blink moves by up to half a frame, so that some frame shows it shut.
    """
    closed_F2 = np.zeros((len(times_s), 2))
    for start_s in starts_s:
        for eye, pulse in enumerate(_blink(float(start_s), fps, rng)):
            pulse.raise_to(closed_F2[:, eye], times_s)
    return closed_F2


def _blink(start_s: float, fps: float, rng: np.random.Generator) -> tuple[Pulse, Pulse]:
    """One blink of each eye."""
    hold_s, apart_s, first = rng.uniform(*_HOLDS_S), rng.uniform(*_APART_S), int(rng.integers(2))
    middle_s = start_s + _CLOSING_S + hold_s / 2
    shown_s = start_s + round(middle_s * fps) / fps - middle_s
    delays_s = (0.0, apart_s) if first == 0 else (apart_s, 0.0)
    left, right = (Pulse(shown_s + delay_s, _CLOSING_S, hold_s, _OPENING_S) for delay_s in delays_s)
    return left, right


class LiveBlinks:
    """Blinks for a voice that is heard as it comes."""

    def __init__(self, per_minute: float, fps: float, rng: np.random.Generator) -> None:
        self._mean_s = 60 / per_minute if per_minute > 0 else np.inf
        self._fps, self._rng = fps, rng
        self._due_s = _FIRST_S + rng.uniform() * self._mean_s if per_minute > 0 else np.inf
        self._is_drawn = rng.random() < _DRAWN
        self._earliest_s = _FIRST_S
        self._blinks: list[tuple[Pulse, Pulse]] = []

    def advance(self, times_s: Doubles, ends_s: Sequence[float], shifts_s: Doubles) -> Doubles:
        """(T, 2) how far each eye is closed.

        Args:
            ends_s: of phrases, that were not known before. shifts_s: large shifts of gaze.
        """
        now_s, last_s = float(times_s[0]), float(times_s[-1])
        self._blinks = [blink for blink in self._blinks if max(eye.end_s for eye in blink) > now_s]
        start_s = self._due_s
        if self._is_drawn:
            shift_s = nearest_event(self._due_s, shifts_s, _TO_GAZE_S)
            near_s = [end_s for end_s in ends_s if abs(end_s - self._due_s) <= _TO_PHRASE_END_S]
            if near_s:
                start_s = now_s
            elif shift_s is not None:
                start_s = shift_s - _GAZE_LEAD_S
        start_s = max(start_s, self._earliest_s)
        if start_s <= last_s:
            self._add(max(start_s, now_s))
        closed_F2 = np.zeros((len(times_s), 2))
        for blink in self._blinks:
            for eye, pulse in enumerate(blink):
                pulse.raise_to(closed_F2[:, eye], times_s)
        return closed_F2

    def _add(self, start_s: float) -> None:
        rng = self._rng
        # Half a frame later, because a blink moves by up to half a frame.
        self._blinks.append(_blink(start_s + 0.5 / self._fps, self._fps, rng))
        self._earliest_s = start_s + _SHORTEST_S
        factor = float(np.exp(_INTERVAL_SPREAD * rng.standard_normal() - _INTERVAL_SPREAD**2 / 2))
        self._due_s = max(self._due_s, start_s - _TO_PHRASE_END_S)
        self._due_s += _SHORTEST_S + max(0.1, self._mean_s - _SHORTEST_S) * factor
        self._is_drawn = rng.random() < _DRAWN
