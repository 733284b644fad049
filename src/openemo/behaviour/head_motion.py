"""Head and torso of somebody who talks, sings or listens.

Slow and quick changes of pose run on a clock of their own, which the voice drives: it nearly stops in pauses,
so the head rests where it is. Accents add nods, turns and tilts; song adds sway with the beat.

Shape letters: T moments; 6 axes as in `HEAD_AXES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.audio.live_voice import Heard
from openemo.audio.prosody import Prosody
from openemo.behaviour.curves import Lag, Pulse, smoothed, soft_limit
from openemo.behaviour.person_style import PersonStyle
from openemo.face.smooth_noise import EndlessNoise, smooth_noise, unit_gain

__all__ = [
    "HEAD_LIMITS",
    "LiveBreath",
    "LiveHead",
    "LiveTorso",
    "breath_torso",
    "breaths",
    "draw_head",
    "follow_torso",
    "limit_head",
]

HEAD_LIMITS: Final = ((-9.0, 9.0), (-8.0, 9.0), (-6.0, 6.0), (-0.14, 0.14), (-0.1, 0.1), (-0.08, 0.08))
"""Lowest and highest value of each axis."""

# Standard deviation of slow and quick changes on each axis, and how long they last on the head's clock.
_SLOW: Final = np.array((2.4, 1.9, 1.45, 0.039, 0.028, 0.016))
_QUICK: Final = np.array((0.9, 0.75, 0.55, 0.006, 0.005, 0.002))
_SLOW_SIGMA_S, _QUICK_SIGMA_S = 0.42, 0.15
_CLOCK_HZ: Final = 25.0
_FORGET_S: Final = 1.2  # on that clock: how long the portrait's pose is felt
# Speed of the clock in pauses and in the softest speech; what a loud voice adds; what a phrase's start adds.
_RESTING, _TALKING, _LOUD, _SHIFT = 0.06, 0.55, 0.75, 1.1
_SOFT_DB, _LOUD_DB = -18.0, 4.0
_SILENT_SHIFT, _SILENT_SHIFTS_PER_S = 0.25, 0.22
_SHIFT_S: Final = (0.2, 0.45, 0.35)  # before the phrase; rise and fall
_CLOCK_SIGMA_S: Final = 0.1
_LATE_S: Final = 0.03  # head behind the sound (Fotedar and Ghosh 2017)
_DRIFT: Final = np.array((0.25, 0.22, 0.18, 0.003, 0.002, 0.001))  # never at rest
_DRIFT_SIGMA_S: Final = 1.2
_NOD_DEG, _NOD_SPREAD, _NOD_S = (2.8, 2.5, 1.8), 0.35, (0.17, 0.03, 0.36)
_NOD_UP: Final = 0.3
_PITCH_SIGMA_S: Final = 0.12
_SONG_TEMPO: Final = 0.75
_SWAY: Final = np.array((1.2, 0.0, 1.7, 0.02, 0.0, 0.0))
_BOUNCE_DEG, _SLOWEST_BEAT_S = 0.5, 0.5
_TORSO_SHARE, _TORSO_PER_DEG, _TORSO_LATE_S, _TORSO_SIGMA_S = 0.4, 0.0012, 0.15, 0.2
_BREATH_PARTS: Final = (0.35, 0.45)  # in and out; the rest is rest
_BREATH_SPREAD, _BREATH_TO_PAUSE_S = 0.12, 0.8
_BREATH_TORSO: Final = 0.012  # face widths by which shoulders rise
_BREATH_HEAD: Final = np.array((0.0, 0.25, 0.0, 0.0, -0.003, 0.0))


def draw_head(
    prosody: Prosody, times_s: Doubles, breath: Doubles, style: PersonStyle, rng: np.random.Generator
) -> Doubles:
    """(T, 6) before limits; `prosody` has a step for each moment."""
    drifts, poses, nods, sways, shifts = rng.spawn(5)
    rate_hz = float(prosody.rate_hz)
    scale = np.array((*style.head_range, style.sway, style.sway, style.sway))
    clock_s = _clock_s(prosody, times_s, style, shifts)
    head = _poses(clock_s, poses)
    head += _DRIFT * _noise(len(times_s), _DRIFT_SIGMA_S * rate_hz, drifts)
    head[:, :3] += _nods(prosody, times_s, style, nods)
    if prosody.is_song:
        head += _sway(prosody.beats_s, times_s, sways)
    head *= scale
    pitch = smoothed(prosody.pitch_semitones_F * prosody.is_speech_F, _PITCH_SIGMA_S, rate_hz)
    head[:, 1] += style.pitch_to_head * np.interp(times_s - _LATE_S, times_s, pitch)
    head[:, 2] += style.turn_to_lean * head[:, 0]
    return np.asarray(head + breath[:, None] * _BREATH_HEAD)


def limit_head(head: Doubles) -> Doubles:
    """(T, 6) within `HEAD_LIMITS`."""
    return np.stack([soft_limit(axis, *limits) for axis, limits in zip(head.T, HEAD_LIMITS, strict=True)], 1)


def follow_torso(head: Doubles, rate_hz: float) -> Doubles:
    """(T, 2) right and down, in face widths: shoulders that follow the head (T, 6) partly and later."""
    pull = _TORSO_SHARE * head[:, 3:5]
    pull[:, 0] += _TORSO_PER_DEG * (head[:, 0] + head[:, 2])
    late = round(_TORSO_LATE_S * rate_hz)
    delayed = np.concatenate([np.repeat(pull[:1], late, axis=0), pull])[: len(pull)]
    return smoothed(delayed, _TORSO_SIGMA_S, rate_hz)


def breaths(prosody: Prosody, times_s: Doubles, per_minute: float, rng: np.random.Generator) -> Doubles:
    """(T,) 0 breathed out to 1 breathed in. In speech, breath comes in at the ends of phrases."""
    track = np.zeros(len(times_s))
    due_s = -rng.uniform() * 60 / per_minute
    last_s = -np.inf
    while due_s < times_s[-1]:
        period_s = 60 / per_minute * np.exp(_BREATH_SPREAD * rng.standard_normal())
        ends_s = prosody.phrases_s[:, 1]
        near = ends_s[np.abs(ends_s - due_s) < _BREATH_TO_PAUSE_S]
        start_s = max(float(near[0]) if len(near) else due_s, last_s)
        into_s, out_s = (part * period_s for part in _BREATH_PARTS)
        Pulse(start_s, into_s, 0.0, out_s, float(rng.uniform(0.8, 1.2))).add_to(track, times_s)
        last_s = start_s + into_s + out_s
        due_s += period_s
    return track


def breath_torso(breath: Doubles) -> Doubles:
    """(T,) by which shoulders go down."""
    return -_BREATH_TORSO * breath


def _noise(count: int, sigma: float, rng: np.random.Generator) -> Doubles:
    """(count, 6) smooth, of unit standard deviation."""
    return smooth_noise(count, 6, sigma, rng, margin=int(4 * sigma) + 1) * unit_gain(sigma)


def _clock_s(prosody: Prosody, times_s: Doubles, style: PersonStyle, rng: np.random.Generator) -> Doubles:
    """(T,) the head's own time, which runs while the voice does."""
    rate_hz = float(prosody.rate_hz)
    loud = np.clip((prosody.loudness_db_F - _SOFT_DB) / (_LOUD_DB - _SOFT_DB), 0, 1)
    speed = np.where(prosody.is_speech_F, _TALKING + _LOUD * loud, _RESTING)
    before_s, rise_s, fall_s = _SHIFT_S
    for start_s in prosody.phrases_s[:, 0]:
        Pulse(float(start_s) - before_s, rise_s, 0.0, fall_s, _SHIFT).add_to(speed, times_s)
    for start_s in rng.uniform(0, times_s[-1], rng.poisson(_SILENT_SHIFTS_PER_S * times_s[-1])):
        if not prosody.is_speech_F[np.searchsorted(times_s, start_s)]:
            Pulse(float(start_s), rise_s, 0.0, fall_s, _SILENT_SHIFT).add_to(speed, times_s)
    speed = smoothed(speed, _CLOCK_SIGMA_S, rate_hz)
    speed = np.interp(times_s - _LATE_S, times_s, speed)
    return np.cumsum(speed) / rate_hz * style.tempo * (_SONG_TEMPO if prosody.is_song else 1.0)


def _poses(clock_s: Doubles, rng: np.random.Generator) -> Doubles:
    """(T, 6) slow and quick changes of pose, which start at the portrait's."""
    count = int(clock_s[-1] * _CLOCK_HZ) + 2
    steps = np.arange(count) / _CLOCK_HZ
    bands = zip((_SLOW, _QUICK), (_SLOW_SIGMA_S, _QUICK_SIGMA_S), rng.spawn(2), strict=True)
    noise = sum(size * _noise(count, sigma_s * _CLOCK_HZ, own) for size, sigma_s, own in bands)
    poses = np.stack([np.interp(clock_s, steps, axis) for axis in np.asarray(noise).T], 1)
    return np.asarray(poses - poses[:1] * np.exp(-clock_s / _FORGET_S)[:, None])


def _nods(prosody: Prosody, times_s: Doubles, style: PersonStyle, rng: np.random.Generator) -> Doubles:
    """(T, 3) degrees: accents marked by a nod, a turn or a tilt and the way back."""
    track = np.zeros((len(times_s), 3))
    chances = style.nods * (0.5 + prosody.accent_strengths)
    rise_s, hold_s, fall_s = _NOD_S
    for accent_s, strength, chance in zip(prosody.accents_s, prosody.accent_strengths, chances, strict=True):
        is_chosen, axis = rng.random() < chance, int(rng.choice(3, p=style.nod_axes))
        is_up = rng.random() < (_NOD_UP if axis == 1 else 0.5)
        size = _NOD_DEG[axis] * (0.5 + strength) * np.exp(_NOD_SPREAD * rng.standard_normal())
        if is_chosen:
            start_s = float(accent_s) + _LATE_S - rise_s
            one = Pulse(start_s, rise_s, hold_s, fall_s, float(size if is_up else -size))
            one.add_to(track[:, axis], times_s)
    return track[:, (1, 0, 2)]


def _sway(beats_s: Doubles, times_s: Doubles, rng: np.random.Generator) -> Doubles:
    """(T, 6) to one side on one beat and to the other on the next, with a small nod on each."""
    sway = np.zeros((len(times_s), 6))
    if len(beats_s) < 2:
        return sway
    every = 2 if np.median(np.diff(beats_s)) < _SLOWEST_BEAT_S else 1
    beat = np.interp(times_s, beats_s, np.arange(len(beats_s))) / every
    is_inside = smoothed((times_s > beats_s[0]) & (times_s < beats_s[-1]), 0.5, 1 / (times_s[1] - times_s[0]))
    side, strength = rng.choice((-1.0, 1.0)), rng.uniform(0.6, 1.2)
    sway += (side * strength * is_inside * np.cos(np.pi * beat))[:, None] * _SWAY
    sway[:, 1] -= _BOUNCE_DEG * strength * is_inside * np.cos(2 * np.pi * beat)
    return sway


class LiveHead:
    """`draw_head` for a voice that is heard as it comes. Songs get no sway: their beat is not known yet."""

    def __init__(self, style: PersonStyle, rate_hz: float, rng: np.random.Generator) -> None:
        drifts, slow, quick, self._nods_rng, self._shifts_rng = rng.spawn(5)
        self._style, self._rate_hz = style, rate_hz
        self._scale = np.array((*style.head_range, style.sway, style.sway, style.sway))
        self._drift = EndlessNoise(6, _DRIFT_SIGMA_S * rate_hz, drifts)
        self._slow = EndlessNoise(6, _SLOW_SIGMA_S * _CLOCK_HZ, slow)
        self._quick = EndlessNoise(6, _QUICK_SIGMA_S * _CLOCK_HZ, quick)
        self._first = self._pose(np.zeros(1))
        self._clock_s = 0.0
        self._speed = Lag(_CLOCK_SIGMA_S, rate_hz)
        self._pitch = Lag(_PITCH_SIGMA_S, rate_hz)
        self._shifts: list[Pulse] = []
        self._nods: list[tuple[int, Pulse]] = []

    def advance(self, times_s: Doubles, heard: Heard, breath: Doubles) -> Doubles:
        """(T, 6) before limits, for the next moments."""
        clock_s = self._advance_clock(times_s, heard)
        forgotten = np.exp(-clock_s / _FORGET_S)[:, None]
        head = self._pose(clock_s) - self._first * forgotten
        head += _DRIFT * self._drift(times_s * self._rate_hz)
        self._mark(times_s, heard)
        for axis, pulse in self._nods:
            pulse.add_to(head[:, axis], times_s)
        head *= self._scale
        head[:, 1] += self._style.pitch_to_head * self._pitch(heard.pitch_semitones_F * heard.is_speech_F)
        head[:, 2] += self._style.turn_to_lean * head[:, 0]
        return np.asarray(head + breath[:, None] * _BREATH_HEAD)

    def _pose(self, clock_s: Doubles) -> Doubles:
        steps = clock_s * _CLOCK_HZ
        return np.asarray(_SLOW * self._slow(steps) + _QUICK * self._quick(steps))

    def _advance_clock(self, times_s: Doubles, heard: Heard) -> Doubles:
        loud = np.clip((heard.loudness_db_F - _SOFT_DB) / (_LOUD_DB - _SOFT_DB), 0, 1)
        speed = np.where(heard.is_speech_F, _TALKING + _LOUD * loud, _RESTING)
        before_s, rise_s, fall_s = _SHIFT_S
        now_s, lasts_s = float(times_s[0]), len(times_s) / self._rate_hz
        for start_s in heard.starts_s:
            self._shifts.append(Pulse(max(start_s - before_s, now_s), rise_s, 0.0, fall_s, _SHIFT))
        if not heard.is_talking and self._shifts_rng.random() < _SILENT_SHIFTS_PER_S * lasts_s:
            self._shifts.append(Pulse(now_s, rise_s, 0.0, fall_s, _SILENT_SHIFT))
        self._shifts = [pulse for pulse in self._shifts if pulse.end_s > now_s]
        for pulse in self._shifts:
            pulse.add_to(speed, times_s)
        steps = self._speed(speed) / self._rate_hz * self._style.tempo
        clock_s = self._clock_s + np.cumsum(steps)
        self._clock_s = float(clock_s[-1])
        return np.asarray(clock_s)

    def _mark(self, times_s: Doubles, heard: Heard) -> None:
        """Adds nods, turns and tilts; an accent that is known late is marked late."""
        rise_s, hold_s, fall_s = _NOD_S
        rng, now_s = self._nods_rng, float(times_s[0])
        self._nods = [(axis, pulse) for axis, pulse in self._nods if pulse.end_s > now_s]
        for accent_s, strength, _ in heard.accents:
            is_chosen = rng.random() < self._style.nods * (0.5 + strength)
            axis = int(rng.choice(3, p=self._style.nod_axes))
            is_up = rng.random() < (_NOD_UP if axis == 1 else 0.5)
            size = float(_NOD_DEG[axis] * (0.5 + strength) * np.exp(_NOD_SPREAD * rng.standard_normal()))
            if is_chosen:
                start_s = max(accent_s + _LATE_S - rise_s, now_s)
                one = Pulse(start_s, rise_s, hold_s, fall_s, size if is_up else -size)
                self._nods.append(((1, 0, 2)[axis], one))


class LiveBreath:
    """`breaths` for a voice that is heard as it comes."""

    def __init__(self, per_minute: float, rng: np.random.Generator) -> None:
        self._per_minute, self._rng = per_minute, rng
        self._due_s = -rng.uniform() * 60 / per_minute
        self._pulses: list[Pulse] = []

    def advance(self, times_s: Doubles, ends_s: Sequence[float]) -> Doubles:
        """(T,) 0 to 1. At the end of a phrase a breath that is due soon comes at once.

        Args:
            ends_s: of phrases.
        """
        now_s = float(times_s[0])
        for end_s in ends_s:
            if abs(self._due_s - end_s) < _BREATH_TO_PAUSE_S:
                self._due_s = max(now_s, end_s)
        while self._due_s <= times_s[-1]:
            period_s = 60 / self._per_minute * float(np.exp(_BREATH_SPREAD * self._rng.standard_normal()))
            into_s, out_s = (part * period_s for part in _BREATH_PARTS)
            start_s = max([self._due_s, *(pulse.end_s for pulse in self._pulses)])
            self._pulses.append(Pulse(start_s, into_s, 0.0, out_s, float(self._rng.uniform(0.8, 1.2))))
            self._due_s = start_s + period_s
        self._pulses = [pulse for pulse in self._pulses if pulse.end_s > now_s]
        track = np.zeros(len(times_s))
        for pulse in self._pulses:
            pulse.add_to(track, times_s)
        return track


class LiveTorso:
    """`follow_torso` as time goes on: shoulders follow the head partly and later."""

    def __init__(self, rate_hz: float) -> None:
        self._lags = [Lag(_TORSO_SIGMA_S, rate_hz) for _ in range(2)]

    def advance(self, head: Doubles) -> Doubles:
        """(T, 2) right and down, in face widths."""
        pull = _TORSO_SHARE * head[:, 3:5]
        pull[:, 0] += _TORSO_PER_DEG * (head[:, 0] + head[:, 2])
        return np.stack([lag(axis) for lag, axis in zip(self._lags, pull.T, strict=True)], 1)
