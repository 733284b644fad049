"""Where the eyes look: at the camera, away and back, by saccades (Lee, Badler, Badler 2002: "Eyes alive").

Shape letters: T moments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.audio.pitch import PitchTrack
from openemo.audio.prosody import Prosody, prosody_of_track
from openemo.behaviour.curves import glide, nearest_event, smoothed, soft_limit
from openemo.behaviour.person_style import DIRECTIONS, PersonStyle

__all__ = [
    "EYE_WIDTHS_PER_DEGREE",
    "LiveGaze",
    "Looks",
    "draw_looks",
    "eyes_in_head",
    "head_following",
    "towards_room",
]

# The iris lies 10 mm in front of the point that the eye turns about, and the corners are 26 mm apart.
EYE_WIDTHS_PER_DEGREE: Final = 0.007
_LISTENING_HOLD_S, _LISTENING_AWAY_S, _LISTENING_SIZE = 5.5, 0.6, 0.5
_MORE_AWAY, _HOLD_SPREAD = 0.5, 0.5  # chance of another look elsewhere; of the log-normal holds
_SHORTEST_S: Final = 0.18
_SIZE_DEG, _SIZE_AT, _LEAST_P, _MOST_P = 6.9, 15.7, 1.6, 7.5  # A = -6.9 ln(P / 15.7), P uniform
# Small looks, within the face of who is spoken to or around what is looked at elsewhere: spread and time.
_SMALL_DEG, _SMALL_HOLD_S = (0.9, 0.7), 0.75
_SACCADE_S, _SACCADE_S_PER_DEG = 0.025, 0.0025
_THINKING_S, _RETURN_S = 0.7, 0.45  # looks away go to starts of phrases, looks back to their ends
_KEPT_BY_EVENTS: Final = 0.6
_TALKING_S: Final = 1.0
_LARGE_DEG: Final = 5.0
# The head goes a part of the way of large shifts, later (70 to 150 ms) and more slowly.
_HEAD_SHARE, _HEAD_MOST_DEG, _HEAD_DELAY_S, _HEAD_SIGMA_S = (0.2, 0.12), 3.0, 0.11, 0.16
_STABILISED: Final = 0.95  # of the head's turning, by the vestibulo-ocular reflex
_NO_ROOM, _ONE_SIDED = 0.1, 0.7  # offset of the irises, and the most that it changes the shares
_STEADY_STEPS: Final = 3_750  # a minute
_CAMERA: Final = (0.0, 0.0)
_LIMITS: Final = ((-0.17, 0.17), (-0.09, 0.1))  # in eye widths, right and down


@dataclass(frozen=True, slots=True)
class Looks:
    """Looks in order. Degrees right and down from the camera; nothing before the first."""

    starts_s: list[float]
    lasts_s: list[float]
    targets_deg: list[tuple[float, float]]

    def track(self, times_s: Doubles) -> Doubles:
        """(T, 2) degrees."""
        return glide(times_s, self.starts_s, self.lasts_s, np.reshape(self.targets_deg, (-1, 2)))

    def add(self, start_s: float, target_deg: tuple[float, float]) -> None:
        before = self.targets_deg[-1] if self.targets_deg else (0.0, 0.0)
        size_deg = float(np.hypot(target_deg[0] - before[0], target_deg[1] - before[1]))
        self.starts_s.append(start_s)
        self.lasts_s.append(_SACCADE_S + _SACCADE_S_PER_DEG * size_deg)
        self.targets_deg.append(target_deg)

    def large_shifts_s(self) -> Doubles:
        """Starts of the shifts over 5 degrees."""
        steps = np.diff(np.reshape(self.targets_deg, (-1, 2)), axis=0, prepend=np.zeros((1, 2)))
        return np.asarray(np.array(self.starts_s)[np.linalg.norm(steps, axis=1) > _LARGE_DEG], np.float64)


def draw_looks(prosody: Prosody, duration_s: float, style: PersonStyle, rng: np.random.Generator) -> Looks:
    """Looks of somebody who talks, and who listens where the voice pauses for long."""
    looks = Looks([], [], [])
    now_s = rng.uniform(0.15, 1) * _camera_hold(prosody, 0.0, style, rng)
    _look_around(looks, _CAMERA, 0.25, now_s, rng)
    while now_s < duration_s:
        if rng.random() < _KEPT_BY_EVENTS:
            now_s = nearest_event(now_s, _starts_s(prosody), _THINKING_S) or now_s
        now_s = max(now_s, looks.starts_s[-1] + _SHORTEST_S if looks.starts_s else 0.3)
        back_s = _look_away(looks, prosody, now_s, style, rng)
        looks.add(back_s, _CAMERA)
        now_s = back_s + _camera_hold(prosody, back_s, style, rng)
        _look_around(looks, _CAMERA, back_s, now_s, rng)
    return looks


def towards_room(directions: tuple[float, ...], offset: float) -> tuple[float, ...]:
    """Looks go more often to the side on which there is room: where the face points in most portraits.

    Args:
        directions: (8,) shares, see `PersonStyle`.
        offset: of the irises to the right of the middle, in eye widths.
    """
    sides = np.cos(2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS)
    weighted = np.array(directions) * (1 - np.clip(offset / _NO_ROOM, -_ONE_SIDED, _ONE_SIDED) * sides)
    return tuple(float(share) for share in weighted / weighted.sum())


def head_following(looks: Looks, times_s: Doubles, rate_hz: float) -> Doubles:
    """(T, 2) degrees of yaw and pitch by which the head goes with large looks."""
    targets = np.reshape(looks.targets_deg, (-1, 2))
    is_large = np.linalg.norm(targets, axis=1, keepdims=True) > _LARGE_DEG
    late_s = [start_s + _HEAD_DELAY_S for start_s in looks.starts_s]
    track = glide(
        times_s, late_s, looks.lasts_s, np.where(is_large, targets, 0) * (_HEAD_SHARE[0], -_HEAD_SHARE[1])
    )
    return smoothed(soft_limit(track, -_HEAD_MOST_DEG, _HEAD_MOST_DEG), _HEAD_SIGMA_S, rate_hz)


def eyes_in_head(looks_deg: Doubles, head_deg: Doubles, gain: float) -> Doubles:
    """(T, 2) gaze in eye widths, with the turning of the head (T, 2: yaw, pitch) taken back."""
    degrees = gain * looks_deg + min(gain, 1.0) * _STABILISED * head_deg * (-1, 1)
    axes = [soft_limit(EYE_WIDTHS_PER_DEGREE * degrees[:, axis], *_LIMITS[axis]) for axis in (0, 1)]
    return np.stack(axes, 1)


def _starts_s(prosody: Prosody) -> Doubles:
    return prosody.phrases_s[:, 0]


def _is_talking(prosody: Prosody, now_s: float) -> bool:
    first, last = (max(0, round((now_s + by) * float(prosody.rate_hz))) for by in (-_TALKING_S, _TALKING_S))
    return bool(prosody.is_speech_F[first:last].any())


def _hold(mean_s: float, rng: np.random.Generator) -> float:
    spread = _HOLD_SPREAD
    return max(_SHORTEST_S, float(mean_s * np.exp(spread * rng.standard_normal() - spread**2 / 2)))


def _camera_hold(prosody: Prosody, now_s: float, style: PersonStyle, rng: np.random.Generator) -> float:
    return _hold(style.camera_hold_s if _is_talking(prosody, now_s) else _LISTENING_HOLD_S, rng)


def _look_around(
    looks: Looks, target_deg: tuple[float, float], start_s: float, stop_s: float, rng: np.random.Generator
) -> None:
    """Small looks close to a target, such as between eyes and mouth of who is spoken to."""
    now_s = start_s + _hold(_SMALL_HOLD_S, rng)
    while now_s < stop_s - _SHORTEST_S:
        x, y = target_deg + rng.standard_normal(2) * _SMALL_DEG
        looks.add(now_s, (float(x), float(y)))
        now_s += _hold(_SMALL_HOLD_S, rng)


def _look_away(
    looks: Looks, prosody: Prosody, start_s: float, style: PersonStyle, rng: np.random.Generator
) -> float:
    """One look or several elsewhere. Returns when they end."""
    now_s = start_s
    is_talking = _is_talking(prosody, now_s)
    while True:
        size_deg = style.gaze_size * -_SIZE_DEG * np.log(rng.uniform(_LEAST_P, _MOST_P) / _SIZE_AT)
        direction = rng.choice(DIRECTIONS, p=style.gaze_directions) + rng.normal(0, 0.25)
        angle = 2 * np.pi * direction / DIRECTIONS
        size_deg *= 1.0 if is_talking else _LISTENING_SIZE
        target_deg = (float(size_deg * np.cos(angle)), float(0.7 * size_deg * np.sin(angle)))
        looks.add(now_s, target_deg)
        until_s = now_s + _hold(style.away_hold_s if is_talking else _LISTENING_AWAY_S, rng)
        _look_around(looks, target_deg, now_s, until_s, rng)
        now_s = until_s
        if not is_talking or rng.random() > _MORE_AWAY:
            break
    end_s = nearest_event(now_s, prosody.phrases_s[:, 1], _RETURN_S)
    if end_s is not None and end_s > looks.starts_s[-1] + _SHORTEST_S and rng.random() < _KEPT_BY_EVENTS:
        return end_s
    return now_s


class LiveGaze:
    """`draw_looks` for a voice that is heard as it comes: planned as if it went on as it is now."""

    _RATE_HZ: Final = 100.0
    _PLANNED_S: Final = 1.0  # beyond the last moment
    _KEPT_S: Final = 3.0

    def __init__(self, style: PersonStyle, rng: np.random.Generator) -> None:
        self._style, self._rng = style, rng
        self._looks = Looks([], [], [])
        self._silence, self._talk = (_steady_voice(is_speech) for is_speech in (False, True))
        self._planned_s = rng.uniform(0.15, 1) * _camera_hold(self._silence, 0.0, style, rng)

    def advance(self, times_s: Doubles, *, is_talking: bool) -> tuple[Doubles, Doubles]:
        """(T, 2) degrees right and down from the camera; (T, 2) yaw and pitch of a head that goes along."""
        self._forget(float(times_s[0]) - self._KEPT_S)
        while self._planned_s < times_s[-1] + self._PLANNED_S:
            self._plan(self._talk if is_talking else self._silence)
        around_s = np.arange(times_s[0] - 0.8, times_s[-1] + 0.8, 1 / self._RATE_HZ)
        follows = head_following(self._looks, around_s, self._RATE_HZ)
        head = np.stack([np.interp(times_s, around_s, axis) for axis in follows.T], 1)
        return self._looks.track(times_s), head

    def large_shifts_s(self) -> Doubles:
        return self._looks.large_shifts_s()

    def _plan(self, voice: Prosody) -> None:
        """One look elsewhere, or several, and the next one at the camera."""
        part = Looks([], [], [])
        back_s = _look_away(part, voice, 0.0, self._style, self._rng)
        part.add(back_s, _CAMERA)
        end_s = back_s + _camera_hold(voice, 0.0, self._style, self._rng)
        _look_around(part, _CAMERA, back_s, end_s, self._rng)
        for start_s, target_deg in zip(part.starts_s, part.targets_deg, strict=True):
            self._looks.add(self._planned_s + start_s, target_deg)
        self._planned_s += end_s

    def _forget(self, before_s: float) -> None:
        """Drops looks that ended before, but for the last one: the eyes start from there."""
        first = max(0, int(np.searchsorted(self._looks.starts_s, before_s)) - 1)
        looks = self._looks
        self._looks = Looks(looks.starts_s[first:], looks.lasts_s[first:], looks.targets_deg[first:])


def _steady_voice(is_speech: bool) -> Prosody:
    """A voice that says something all the time, or nothing."""
    silence = prosody_of_track(PitchTrack(np.zeros(1), np.zeros(1), np.zeros(1)), None)
    return replace(silence, is_speech_F=np.full(_STEADY_STEPS, is_speech))
