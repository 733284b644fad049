"""Expression over time: emotions that are asked for, and a little of what the voice carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openemo.arrays import Doubles, Floats
from openemo.behaviour.curves import Lag, ease, smoothed
from openemo.behaviour.tracks import EMOTIONS
from openemo.errors import ConfigError

if TYPE_CHECKING:
    from openemo.audio.live_voice import Heard
    from openemo.audio.prosody import Prosody

__all__ = [
    "NEUTRAL",
    "Emotions",
    "LiveExpression",
    "check_emotions",
    "expression_track",
    "is_neutral",
    "own_smile_track",
    "voice_expression",
]

NEUTRAL: Final = "neutral"
Emotions = str | Sequence[tuple[float, str, float]]
"""One emotion for the whole video, or (time in seconds, name, strength) for each change."""

_OWN_SMILE: Final = 0.5  # share of a photo's own smile that the liveliest voice brings back
_CHANGE_S: Final = 0.6
_MOST, _CALM, _EXCITED = 0.18, 0.1, 0.6  # strength, from which arousal on and at which
_MOOD_SIGMA_S: Final = 0.8
_SOFT_DB, _LOUD_DB = -15.0, 3.0


def expression_track(emotions: Emotions, num_frames: int, fps: Fraction, *, strength: float = 1.0) -> Doubles:
    """(num_frames, 7) strengths in the order of `EMOTIONS`. Each change takes 0.6 s, the first one too.

    Args:
        emotions: names are those of `EMOTIONS`, or "neutral".
        strength: 0 to 1; of one emotion for the whole video, else a factor on the strengths of the list.

    Raises:
        ConfigError: an unknown name, a strength beyond 0 to 1, or a time below zero.
    """
    _check_strength(strength)
    checked = check_emotions(emotions)
    changes = [(0.0, checked, 1.0)] if isinstance(checked, str) else checked
    times_s = np.arange(num_frames) / float(fps)
    track, before = np.zeros((num_frames, len(EMOTIONS))), np.zeros(len(EMOTIONS))
    for time_s, name, own in sorted(changes, key=lambda change: change[0]):
        target = np.array([strength * own * (name == emotion) for emotion in EMOTIONS])
        track += ease((times_s - time_s) / _CHANGE_S)[:, None] * (target - before)
        before = target
    return np.clip(track, 0, 1)


def check_emotions(emotions: Any) -> Emotions:
    """The emotions, if a call can use them. Raises ConfigError."""
    if isinstance(emotions, str):
        _check_name(emotions)
        return emotions
    try:
        parts = [(time_s, name, own) for time_s, name, own in emotions]
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "the emotion is not understood",
            got=repr(emotions),
            expected="a name, or a list of (time in seconds, name, strength)",
        ) from error
    changes = [(_number("time", time_s), name, _number("strength", own)) for time_s, name, own in parts]
    for time_s, name, own in changes:
        _check_name(name)
        _check_strength(own)
        if not (math.isfinite(time_s) and time_s >= 0):
            raise ConfigError(f"the time of {name} is out of range", got=time_s, expected="0 s or more")
    return changes


def is_neutral(emotions: Emotions) -> bool:
    """Whether no emotion is asked for."""
    names = [emotions] if isinstance(emotions, str) else [name for _, name, _ in emotions]
    return all(name == NEUTRAL for name in names)


def voice_expression(prosody: Prosody, gain: float) -> Doubles:
    """(T, 7) a slight smile of an excited voice while it is loud; `prosody` has a step for each moment."""
    level = np.clip((prosody.arousal - _CALM) / (_EXCITED - _CALM), 0, 1)
    loud = np.clip((prosody.loudness_db_F - _SOFT_DB) / (_LOUD_DB - _SOFT_DB), 0, 1)
    mood = smoothed(loud * prosody.is_speech_F, _MOOD_SIGMA_S, float(prosody.rate_hz))
    track = np.zeros((len(prosody), len(EMOTIONS)))
    track[:, EMOTIONS.index("happy")] = gain * _MOST * level * np.clip(2 * mood, 0, 1)
    return np.clip(track, 0, 1)


class LiveExpression:
    """The expression of somebody whose voice comes bit by bit. Emotions may be asked for at any time."""

    def __init__(self, rate_hz: float) -> None:
        self._mood = Lag(_MOOD_SIGMA_S, rate_hz)
        self._step = 1 / (_CHANGE_S * rate_hz)
        self._asked_E = np.zeros(len(EMOTIONS))
        self.wanted_E: Doubles = np.zeros(len(EMOTIONS))
        """What is asked for. Each change takes 0.6 s."""

    def advance(self, heard: Heard, gain: float, own_smile: float) -> Doubles:
        """(T, 7) strengths of the next moments; arguments as of `voice_expression` and `own_smile_track`."""
        count = len(heard.loudness_db_F)
        level = np.clip((heard.arousal - _CALM) / (_EXCITED - _CALM), 0, 1)
        loud = np.clip((heard.loudness_db_F - _SOFT_DB) / (_LOUD_DB - _SOFT_DB), 0, 1)
        mood = self._mood(loud * heard.is_speech_F)
        voice = np.zeros((count, len(EMOTIONS)))
        voice[:, EMOTIONS.index("happy")] = np.clip(gain * _MOST * level * np.clip(2 * mood, 0, 1), 0, 1)
        asked = np.empty_like(voice)
        for index in range(count):
            self._asked_E = self._asked_E + np.clip(self.wanted_E - self._asked_E, -self._step, self._step)
            asked[index] = self._asked_E
        return np.clip(voice + asked + own_smile_track(voice, asked, own_smile), 0, 1)


def own_smile_track(voice_FE: Floats, asked_FE: Floats, own_smile: float) -> Doubles:
    """(F, 7) the smile that a photo had, when it comes back: with the voice, and where `happy` is asked for.

    Args:
        voice_FE: what the voice carries. asked_FE: what is asked for; other emotions send the smile away.
        own_smile: strength of the smile that was taken out of the photo, 0 to 1.
    """
    happy = EMOTIONS.index("happy")
    others = np.delete(asked_FE, happy, axis=1).max(1, initial=0)
    shown = np.clip(_OWN_SMILE * voice_FE[:, happy] / _MOST * (1 - others) + asked_FE[:, happy], 0, 1)
    track = np.zeros(asked_FE.shape)
    track[:, happy] = own_smile * shown
    return track


def _check_name(name: str) -> None:
    if name != NEUTRAL and name not in EMOTIONS:
        known = ", ".join((*EMOTIONS, NEUTRAL))
        raise ConfigError("the emotion is unknown", got=repr(name), expected=f"one of {known}")


def _number(what: str, value: Any) -> float:
    """A number, also numpy's, as float. Raises ConfigError."""
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    raise ConfigError(f"the {what} of an emotion is not a number", got=repr(value), expected="such as 0.5")


def _check_strength(strength: Any) -> None:
    strength = _number("strength", strength)
    if not (math.isfinite(strength) and 0 <= strength <= 1):
        raise ConfigError("the strength of an emotion is out of range", got=strength, expected="0 to 1")
