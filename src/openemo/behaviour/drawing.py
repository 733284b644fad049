"""Draws what somebody does who says this: from the sound, a seed, and who it is."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.audio.prosody import Prosody
from openemo.behaviour.behaviour_settings import BehaviourSettings
from openemo.behaviour.blinks import blink_tracks, draw_blinks_s
from openemo.behaviour.brows import draw_brows
from openemo.behaviour.curves import ease
from openemo.behaviour.expression import voice_expression
from openemo.behaviour.gaze import Looks, draw_looks, eyes_in_head, head_following
from openemo.behaviour.head_motion import breath_torso, breaths, draw_head, follow_torso, limit_head
from openemo.behaviour.person_style import PersonStyle, draw_style
from openemo.behaviour.tracks import Behaviour

__all__ = ["START_S", "draw_behaviour", "person_number", "style_of"]

# Tracks are drawn at this rate and read at the frames, so that motion does not depend on the frame rate.
_RATE_HZ: Final = Fraction(100)
_MARGIN_S: Final = 0.5
START_S, _FORGET_S = 0.6, 2.0  # the portrait's pose goes over into the drawn one
_CHANNELS: Final = 5


def draw_behaviour(
    prosody: Prosody,
    num_frames: int,
    fps: Fraction,
    *,
    seed: int,
    person: int | bytes,
    settings: BehaviourSettings | None = None,
    style: PersonStyle | None = None,
) -> Behaviour:
    """Behaviour over the frames of a video; the first frame is the portrait as it is.

    The same arguments give the same tracks. Another seed, person or voice gives others, which are not
    correlated. A gain changes its own channel alone, but eyes turn back by what the head turns.

    Args:
        prosody: of the voice, at any rate.
        seed: 0 or more.
        person: stands for who it is.
        settings: None is the default.
        style: habits; None takes those of the person.
    """
    if num_frames == 0:
        return Behaviour.neutral(0)
    settings = settings or BehaviourSettings()
    style = style or style_of(person)
    duration_s = num_frames / float(fps)
    times_s = np.arange(round((duration_s + _MARGIN_S) * _RATE_HZ)) / float(_RATE_HZ)
    drawn = prosody.at(len(times_s), _RATE_HZ)
    rng = np.random.default_rng(np.random.SeedSequence((seed, person_number(person), prosody.fingerprint)))
    heads, gazes, lids, brows, chests = rng.spawn(_CHANNELS)
    looks = draw_looks(drawn, duration_s, style, gazes)
    breath = breaths(drawn, times_s, style.breaths_per_minute, chests)
    head = draw_head(drawn, times_s, breath, style, heads)
    head[:, :2] += head_following(looks, times_s, float(_RATE_HZ))
    head = limit_head(settings.head_motion * _from_portrait(head, times_s))
    torso = follow_torso(head, float(_RATE_HZ))
    torso[:, 1] += min(settings.head_motion, 1) * breath_torso(breath)
    gaze = eyes_in_head(looks.track(times_s), head[:, :2], settings.gaze)
    raised = draw_brows(drawn, times_s, style, settings.brows, brows)
    mood = voice_expression(drawn, settings.expression)
    frames_s = np.arange(num_frames) / float(fps)

    def at_frames(track: Doubles) -> Doubles:
        columns = [np.interp(frames_s, times_s, column) for column in np.atleast_2d(track.T)]
        return np.stack(columns, 1).reshape(num_frames, *track.shape[1:])

    return Behaviour(
        head_F6=at_frames(head),
        torso_F2=at_frames(_from_portrait(torso, times_s)),
        brows_F=at_frames(_from_portrait(raised, times_s)),
        gaze_F2=at_frames(gaze),
        eyes_closed_F2=_blinks(drawn, looks, frames_s, float(fps), style, settings, lids),
        expression_FE=np.maximum(at_frames(_from_portrait(mood, times_s)), 0),
    )


def style_of(person: int | bytes) -> PersonStyle:
    """The habits of a person: the same in each video."""
    return draw_style(np.random.default_rng(np.random.SeedSequence(person_number(person))))


def person_number(person: int | bytes) -> int:
    """A number of 64 bits for whatever stands for a person."""
    text = person if isinstance(person, bytes) else str(person).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _from_portrait(track: Doubles, times_s: Doubles) -> Doubles:
    """The track (T, ...) as it starts at zero: its first value is forgotten over some seconds."""
    shape = (-1, *(1 for _ in track.shape[1:]))
    forgotten = np.exp(-times_s / _FORGET_S).reshape(shape)
    return np.asarray((track - track[:1] * forgotten) * ease(times_s / START_S).reshape(shape))


def _blinks(
    prosody: Prosody,
    looks: Looks,
    frames_s: Doubles,
    fps: float,
    style: PersonStyle,
    settings: BehaviourSettings,
    rng: np.random.Generator,
) -> Doubles:
    asked = settings.blinks_per_minute
    per_minute = style.blinks_per_minute if asked is None else asked
    ends_s, shifts_s = prosody.phrases_s[:, 1], looks.large_shifts_s()
    starts_s = draw_blinks_s(float(frames_s[-1]), per_minute, ends_s, shifts_s, rng)
    return blink_tracks(starts_s, frames_s, fps, rng)
