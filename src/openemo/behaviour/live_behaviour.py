"""What somebody does whose voice is heard as it comes: `draw_behaviour` without an end.

Channels are those of `draw_behaviour`, with the same habits and sizes. What needs the future of a voice is
left out or late: nods and brows come after their accents, a look ends without knowing when the phrase will.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from openemo.arrays import Doubles
from openemo.audio.live_voice import Heard
from openemo.behaviour.behaviour_settings import BehaviourSettings
from openemo.behaviour.blinks import LiveBlinks
from openemo.behaviour.brows import LiveBrows
from openemo.behaviour.curves import ease
from openemo.behaviour.drawing import START_S, person_number
from openemo.behaviour.expression import LiveExpression, expression_track
from openemo.behaviour.gaze import LiveGaze, eyes_in_head
from openemo.behaviour.head_motion import LiveBreath, LiveHead, LiveTorso, breath_torso, limit_head
from openemo.behaviour.person_style import PersonStyle
from openemo.behaviour.tracks import Behaviour

__all__ = ["LiveBehaviour"]


class LiveBehaviour:
    """Somebody who talks and listens. The first frame is the portrait as it is; memory does not grow.

    Args:
        seed, person, settings, style: see `draw_behaviour`.
        own_smile: see `own_smile_track`.
    """

    def __init__(
        self,
        fps: Fraction,
        *,
        seed: int,
        person: int | bytes,
        settings: BehaviourSettings,
        style: PersonStyle,
        own_smile: float = 0.0,
    ) -> None:
        rate_hz = float(fps)
        rng = np.random.default_rng(np.random.SeedSequence((seed, person_number(person))))
        heads, gazes, lids, brows, chests = rng.spawn(5)
        asked = settings.blinks_per_minute
        self._fps, self._settings, self._own_smile = fps, settings, own_smile
        self._breath = LiveBreath(style.breaths_per_minute, chests)
        self._gaze = LiveGaze(style, gazes)
        self._head = LiveHead(style, rate_hz, heads)
        self._torso = LiveTorso(rate_hz)
        self._brows = LiveBrows(style, rate_hz, brows)
        self._blinks = LiveBlinks(style.blinks_per_minute if asked is None else asked, rate_hz, lids)
        self._expression = LiveExpression(rate_hz)
        self._num_frames = 0

    def set_emotion(self, emotion: str, strength: float) -> None:
        """An emotion from now on. Raises ConfigError, see `expression_track`."""
        frames = 100  # long enough for the change
        self._expression.wanted_E = expression_track(emotion, frames, Fraction(25), strength=strength)[-1]

    def times_s(self, num_frames: int) -> Doubles:
        """When the next frames appear, in seconds of the stream."""
        return np.arange(self._num_frames, self._num_frames + num_frames) / float(self._fps)

    def advance(self, num_frames: int, heard: Heard) -> Behaviour:
        """The next frames.

        Args:
            heard: of the voice, at `times_s`.
        """
        times_s, settings = self.times_s(num_frames), self._settings
        self._num_frames += num_frames
        looks_deg, following_deg = self._gaze.advance(times_s, is_talking=heard.is_talking)
        breath = self._breath.advance(times_s, heard.ends_s)
        started = ease(times_s / START_S)
        head = self._head.advance(times_s, heard, breath)
        head[:, :2] += following_deg
        head = limit_head(settings.head_motion * head * started[:, None])
        torso = self._torso.advance(head)
        torso[:, 1] += min(settings.head_motion, 1) * breath_torso(breath) * started
        shifts_s = self._gaze.large_shifts_s()
        return Behaviour(
            head_F6=head,
            torso_F2=torso,
            brows_F=self._brows.advance(times_s, heard, settings.brows) * started,
            gaze_F2=eyes_in_head(looks_deg, head[:, :2], settings.gaze),
            eyes_closed_F2=self._blinks.advance(times_s, heard.ends_s, shifts_s),
            expression_FE=started[:, None]
            * self._expression.advance(heard, settings.expression, self._own_smile),
        )
