"""A voice that is heard as it comes: its level, and how things are said, from the last seconds of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Doubles, Samples
from openemo.audio.pitch import HOP_SAMPLES, SAMPLE_RATE_HZ, PitchTrack, track_short_pitch
from openemo.audio.prosody import Mask, prosody_of_track

__all__ = ["Heard", "LiveVoice"]

_STEP_S: Final = HOP_SAMPLES / SAMPLE_RATE_HZ
_HISTORY_STEPS: Final = 750  # 12 s
# The pitch network sees so many steps before a step and after it.
_BEFORE, _AFTER = 11, 10
_VOICED: Final = 0.5
# The level of a voice before anybody has spoken. It weighs as much as half a second of voice.
_USUAL_DBFS, _USUAL_STEPS = -23.0, 31
_LEVEL_STEPS: Final = 1250  # 20 s of voice
_MOST_GAIN_DB: Final = 30.0
_SURE_S: Final = 0.06  # a peak of loudness is an accent if nothing louder follows within this time
_TALKING_S: Final = 1.0
_SAME_S: Final = 0.15  # an event that is found again lies this near


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What is known of a voice when some frames are made. Times are those of the stream, in seconds.

    Attributes:
        loudness_db_F, pitch_semitones_F, is_speech_F: at the frames, see `Prosody`.
        accents: those that were not known before: time, strength, rise in semitones.
        starts_s, ends_s: of phrases, that were not known before.
        is_talking: whether there was speech in the last second.
        arousal: see `Prosody`.
    """

    loudness_db_F: Doubles
    pitch_semitones_F: Doubles
    is_speech_F: Mask
    accents: tuple[tuple[float, float, float], ...]
    starts_s: tuple[float, ...]
    ends_s: tuple[float, ...]
    is_talking: bool
    arousal: float


class LiveVoice:
    """Prosody and level of the last 12 s of a voice. Memory does not grow."""

    def __init__(self) -> None:
        empty = np.zeros(0)
        self._samples: Samples = np.zeros(0, np.float32)
        self._track = PitchTrack(empty, empty, empty)
        self._end_step = 0  # of the stream
        self._voiced_power: deque[float] = deque(maxlen=_LEVEL_STEPS)
        self._levelled_step = 0
        self._known = {"accents": -1.0, "starts": -1.0, "ends": -1.0}

    @property
    def level_dbfs(self) -> float:
        """Of the voice without its pauses."""
        count = len(self._voiced_power)
        if not count:
            return _USUAL_DBFS
        heard_dbfs = 10 * np.log10(max(float(np.mean(self._voiced_power)), 1e-10))
        return float((_USUAL_STEPS * _USUAL_DBFS + count * heard_dbfs) / (_USUAL_STEPS + count))

    @property
    def gain(self) -> float:
        """Factor that brings the voice to the usual level."""
        return float(10 ** (min(_USUAL_DBFS - self.level_dbfs, _MOST_GAIN_DB) / 20))

    def push(self, samples: Samples) -> None:
        """What comes next, mono at 16 kHz. The same pieces give the same results."""
        self._samples = np.concatenate([self._samples, samples])
        steps = len(self._samples) // HOP_SAMPLES
        new = steps - min(len(self._track.confidence_T), _BEFORE + _AFTER)
        if new <= 0:
            return
        gain = self.gain
        found = track_short_pitch(self._samples[: steps * HOP_SAMPLES] * np.float32(gain))
        revised = min(_AFTER, steps - new)
        keep = len(self._track.confidence_T) - revised
        start = steps - new - revised
        self._track = PitchTrack(
            *(
                np.concatenate([old[:keep], part[start:]])[-_HISTORY_STEPS:]
                for old, part in (
                    (self._track.pitch_hz_T, found.pitch_hz_T),
                    (self._track.confidence_T, found.confidence_T),
                    (self._track.level_dbfs_T, found.level_dbfs_T - 20 * np.log10(gain)),
                )
            )
        )
        self._end_step += new
        self._samples = self._samples[max(0, steps - _BEFORE - _AFTER) * HOP_SAMPLES :]
        self._measure_level()

    def _measure_level(self) -> None:
        """Takes the steps whose pitch will not be revised."""
        until = self._end_step - _AFTER
        first = max(self._levelled_step - self._end_step, -len(self._track.confidence_T))
        part = slice(first, until - self._end_step)
        is_voiced = self._track.confidence_T[part] >= _VOICED
        self._voiced_power.extend((10 ** (self._track.level_dbfs_T[part][is_voiced] / 10)).tolist())
        self._levelled_step = max(until, 0)

    def hear(self, times_s: Doubles) -> Heard:
        """What is known now, for frames at these times."""
        prosody = prosody_of_track(self._track, self.level_dbfs)
        steps = len(prosody)
        origin_s = (self._end_step - steps) * _STEP_S
        places = (times_s - origin_s) / _STEP_S
        nearest = np.clip(np.round(places).astype(int), 0, max(steps - 1, 0))
        end_s = self._end_step * _STEP_S
        phrases_s = prosody.phrases_s + origin_s
        # A phrase that reaches to the edge of what is known has no start or end there.
        starts_s = [start_s for start_s in phrases_s[:, 0] if start_s > origin_s or origin_s == 0]
        ends_s = [stop_s for stop_s in phrases_s[:, 1] if stop_s < end_s - _STEP_S]
        accents = [
            (accent_s, strength, rise)
            for accent_s, strength, rise in zip(
                (prosody.accents_s + origin_s).tolist(),
                prosody.accent_strengths.tolist(),
                prosody.accent_rises.tolist(),
                strict=True,
            )
            if accent_s < end_s - _SURE_S
        ]
        recent = prosody.is_speech_F[max(0, steps - round(_TALKING_S / _STEP_S)) :]
        return Heard(
            loudness_db_F=_at(prosody.loudness_db_F, places),
            pitch_semitones_F=_at(prosody.pitch_semitones_F, places),
            is_speech_F=prosody.is_speech_F[nearest] if steps else np.zeros(len(times_s), np.bool_),
            accents=tuple(one for one in accents if self._is_new("accents", one[0])),
            starts_s=tuple(one for one in starts_s if self._is_new("starts", one)),
            ends_s=tuple(one for one in ends_s if self._is_new("ends", one)),
            is_talking=bool(recent.any()),
            arousal=prosody.arousal,
        )

    def _is_new(self, kind: str, moment_s: float) -> bool:
        """Whether an event is later than the last one; events that are known move by little."""
        is_new = moment_s > self._known[kind] + _SAME_S
        if is_new:
            self._known[kind] = moment_s
        return is_new


def _at(values: Doubles, places: Doubles) -> Doubles:
    if not len(values):
        return np.full(len(places), -60.0)
    return np.asarray(np.interp(places, np.arange(len(values)), values))
