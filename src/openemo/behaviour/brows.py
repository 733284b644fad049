"""Brows: quick raises at accents, held over questions, some in pauses; a little with pitch (Cave 1996)."""

from __future__ import annotations

from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.audio.live_voice import Heard
from openemo.audio.prosody import Prosody
from openemo.behaviour.curves import Lag, Pulse, smoothed, soft_limit
from openemo.behaviour.person_style import PersonStyle
from openemo.face.smooth_noise import EndlessNoise, smooth_noise, unit_gain

__all__ = ["LiveBrows", "draw_brows"]

_RAISE, _RAISE_SPREAD = 0.0135, 0.3  # face widths; of its logarithm
_RISE_S, _FALL_S, _HOLDS_S = 0.13, 0.32, (0.06, 0.35)
_RISING: Final = 1.5  # semitones: pitch that rises less seldom raises the brows
_TASTE: Final = 0.8  # spread of what is stressed by brows, of its logarithm
# Semitones; share of those; how long before the end and after it.
_QUESTION, _QUESTION_CHANCE, _QUESTION_S, _ANSWER_S = 2.5, 0.35, (0.15, 0.7), (0.0, 0.4)
_SILENT_PER_S: Final = 0.12  # raises without a word to them
_DRIFT, _DRIFT_SIGMA_S = 0.003, 0.55  # slow changes; face widths, seconds
_FOLLOWING_SIGMA_S: Final = 0.1
_SONG: Final = 3.0  # times as much with pitch in song
_SONG_FOLLOWING: Final = 0.0005
_LIMITS: Final = (-0.012, 0.032)


def draw_brows(
    prosody: Prosody, times_s: Doubles, style: PersonStyle, gain: float, rng: np.random.Generator
) -> Doubles:
    """(T,) face widths, above zero raised. `prosody` has a step for each moment."""
    rate_hz = float(prosody.rate_hz)
    sigma = _DRIFT_SIGMA_S * rate_hz
    drift = smooth_noise(len(times_s), 1, sigma, rng, margin=int(4 * sigma))[:, 0] * unit_gain(sigma)
    raises = np.zeros(len(times_s))
    for one in _raises(prosody, times_s[-1], style, rng):
        one.raise_to(raises, times_s)
    following = style.pitch_to_brows
    if prosody.is_song:
        following = _SONG_FOLLOWING + _SONG * max(following, 0)
    pitch = smoothed(prosody.pitch_semitones_F * prosody.is_speech_F, _FOLLOWING_SIGMA_S, rate_hz)
    return soft_limit(gain * (style.brows * (_DRIFT * drift + raises) + following * pitch), *_LIMITS)


def _raises(prosody: Prosody, duration_s: float, style: PersonStyle, rng: np.random.Generator) -> list[Pulse]:
    """In face widths."""
    favour = np.exp(_TASTE * rng.standard_normal(len(prosody.accents_s)))
    favour *= np.where(prosody.accent_rises > _RISING, 1.0, 0.4) * (0.4 + prosody.accent_strengths)
    share = style.brow_accents * favour * len(favour) / max(float(favour.sum()), 1e-9)
    chosen = rng.random(len(favour)) < share
    starts_s = prosody.accents_s[chosen] - rng.uniform(0.0, 0.36, chosen.sum())
    moments = [(float(start_s), float(rng.uniform(*_HOLDS_S))) for start_s in starts_s]
    ends_s = prosody.phrases_s[prosody.phrase_rises > _QUESTION, 1]
    for end_s in ends_s[rng.random(len(ends_s)) < _QUESTION_CHANCE]:
        before_s = float(rng.uniform(*_QUESTION_S))
        moments.append((float(end_s) - before_s, before_s + float(rng.uniform(*_ANSWER_S))))
    for start_s in rng.uniform(0, duration_s, rng.poisson(_SILENT_PER_S * duration_s)):
        moments.append((float(start_s), float(rng.uniform(*_HOLDS_S))))
    sizes = _RAISE * np.exp(_RAISE_SPREAD * rng.standard_normal(len(moments)))
    return [
        Pulse(start_s, _RISE_S, hold_s, _FALL_S, float(size))
        for (start_s, hold_s), size in zip(moments, sizes, strict=True)
    ]


class LiveBrows:
    """`draw_brows` for a voice that comes bit by bit. Questions are left out: their end comes too late."""

    def __init__(self, style: PersonStyle, rate_hz: float, rng: np.random.Generator) -> None:
        drifts, self._rng = rng.spawn(2)
        self._style, self._rate_hz = style, rate_hz
        self._drift = EndlessNoise(1, _DRIFT_SIGMA_S * rate_hz, drifts)
        self._pitch = Lag(_FOLLOWING_SIGMA_S, rate_hz)
        self._raises: list[Pulse] = []

    def advance(self, times_s: Doubles, heard: Heard, gain: float) -> Doubles:
        """(T,) face widths, above zero raised."""
        now_s, lasts_s = float(times_s[0]), len(times_s) / self._rate_hz
        self._raises = [one for one in self._raises if one.end_s > now_s]
        for _, strength, rise in heard.accents:
            # The mean over the accents of a voice is that of `draw_brows`.
            favour = (1.0 if rise > _RISING else 0.4) * (0.4 + strength) / 0.63
            if self._rng.random() < self._style.brow_accents * favour:
                self._raise(now_s)
        if self._rng.random() < _SILENT_PER_S * lasts_s:
            self._raise(now_s)
        raises = np.zeros(len(times_s))
        for one in self._raises:
            one.raise_to(raises, times_s)
        drift = self._drift(times_s * self._rate_hz)[:, 0]
        following = self._style.pitch_to_brows * self._pitch(heard.pitch_semitones_F * heard.is_speech_F)
        return soft_limit(gain * (self._style.brows * (_DRIFT * drift + raises) + following), *_LIMITS)

    def _raise(self, start_s: float) -> None:
        hold_s = float(self._rng.uniform(*_HOLDS_S))
        size = float(_RAISE * np.exp(_RAISE_SPREAD * self._rng.standard_normal()))
        self._raises.append(Pulse(start_s, _RISE_S, hold_s, _FALL_S, size))
