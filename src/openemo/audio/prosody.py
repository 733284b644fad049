"""How something is said beside the words: loudness, pitch, pauses, phrases, accents; whether it is sung."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, median_filter, minimum_filter1d

from openemo.arrays import Doubles, Samples
from openemo.audio.audio_reader import Audio
from openemo.audio.beat_tracking import track_beats
from openemo.audio.loudness import gated_level_dbfs
from openemo.audio.peaks import find_peaks
from openemo.audio.pitch import PITCH_RATE_HZ, SAMPLE_RATE_HZ, PitchTrack, track_pitch

__all__ = ["Prosody", "measure_prosody", "prosody_of_track"]

Mask = NDArray[np.bool_]

_STEP_S: Final = float(1 / PITCH_RATE_HZ)
_FLOOR_DB: Final = -60.0
# Speech is this much above the noise, but never asked to be louder than the one or softer than the other.
_OVER_NOISE_DB, _LOUDEST_NOISE_DB, _SOFTEST_SPEECH_DB = 10.0, -12.0, -28.0
_PAUSE_S, _BURST_S = 0.22, 0.08  # shorter gaps are closures of consonants, shorter sounds are clicks
# Confidence; loudness; semitones from the median, beyond which a pitch is an error or another sound.
_VOICED, _SOFTEST_VOICE_DB, _WIDEST_VOICE = 0.5, -24.0, 14.0
_ACCENT_SMOOTHING_S, _ACCENT_DISTANCE_S, _ACCENT_PROMINENCE = 0.05, 0.22, 0.7
_RISE_S: Final = 0.35  # before an accent, and before the end of a phrase
# Mean and spread of range of loudness (dB), of pitch (semitones), and pace (peaks a second).
_READERS: Final = ((9.3, 1.8), (2.6, 1.0), (2.5, 0.45))
_SHORTEST_SONG_S, _NARROWEST_SONG, _SONG_VOICED, _SONG, _MOST_REGULAR = 1.5, 1.9, 0.52, 0.49, 0.25
_SILENT_PEAK, _PEAK = 1e-3, 0.5
_LEAST_VOICED, _STEADY_NOISE_DB = 0.03, 6.0
_HASHED_SAMPLES: Final = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Prosody:
    """F steps in time, and events in seconds.

    Attributes:
        rate_hz: steps per second; frames per second after `at`.
        loudness_db_F: relative to the level of the voice without its pauses, -60 or more.
        pitch_semitones_F: relative to the median of the voice; interpolated where there is no pitch.
        is_voiced_F: where pitch was measured.
        is_speech_F: False in pauses of 0.22 s and more.
        phrases_s: (P, 2) start and end of what is said between pauses.
        phrase_rises: (P,) semitones by which pitch rises at the end of each phrase; falls are negative.
        accents_s: (A,) the moments that stick out by loudness and pitch.
        accent_strengths: (A,) 0 the weakest to 1 the strongest of this voice.
        accent_rises: (A,) semitones by which pitch rises to each accent.
        beats_s: (B,) beats of a song; empty for speech.
        is_song: whether the voice sings.
        arousal: 0 calm to 1 excited, about 0.3 in the mean: from range of loudness and pitch, and pace.
        fingerprint: a number that stands for the samples.
    """

    rate_hz: Fraction
    loudness_db_F: Doubles
    pitch_semitones_F: Doubles
    is_voiced_F: Mask
    is_speech_F: Mask
    phrases_s: Doubles
    phrase_rises: Doubles
    accents_s: Doubles
    accent_strengths: Doubles
    accent_rises: Doubles
    beats_s: Doubles
    is_song: bool
    arousal: float
    fingerprint: int

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.loudness_db_F)

    def at(self, num_frames: int, fps: Fraction) -> Prosody:
        """The same for the frames of a video. What goes on after the sound is a pause."""
        steps = np.arange(num_frames) * float(self.rate_hz / fps)
        nearest = np.minimum(np.round(steps).astype(int), max(len(self) - 1, 0))
        is_inside = steps < len(self)

        def curve(values: Doubles, outside: float) -> Doubles:
            inside = np.interp(steps, np.arange(len(self)), values) if len(self) else np.zeros(num_frames)
            return np.where(is_inside, inside, outside)

        def mask(values: Mask) -> Mask:
            return np.asarray(values[nearest] & is_inside) if len(self) else np.zeros(num_frames, np.bool_)

        return replace(
            self,
            rate_hz=fps,
            loudness_db_F=curve(self.loudness_db_F, _FLOOR_DB),
            pitch_semitones_F=curve(self.pitch_semitones_F, 0),
            is_voiced_F=mask(self.is_voiced_F),
            is_speech_F=mask(self.is_speech_F),
        )


def measure_prosody(audio: Audio) -> Prosody:
    """Prosody in steps of 16 ms. Silence has none: no speech, no phrase, no accent."""
    samples = _at_one_level(audio.mono().resample(SAMPLE_RATE_HZ).samples[0])
    level_dbfs = gated_level_dbfs(samples, SAMPLE_RATE_HZ)
    return prosody_of_track(
        track_pitch(samples), level_dbfs, samples=samples, fingerprint=_fingerprint(audio)
    )


def prosody_of_track(
    track: PitchTrack, level_dbfs: float | None, *, samples: Samples | None = None, fingerprint: int = 0
) -> Prosody:
    """Prosody of a voice whose pitch is known.

    Args:
        level_dbfs: of the voice without its pauses; None for silence.
        samples: at 16 kHz, for the beats of a song; None looks for none.
    """
    loudness = np.maximum(track.level_dbfs_T - (np.inf if level_dbfs is None else level_dbfs), _FLOOR_DB)
    pitch, is_voiced = _pitch(track, loudness)
    is_speech = _speech(loudness, is_voiced)
    accents, strengths, rises = _accents(loudness, pitch, is_speech)
    phrases = _runs(is_speech)
    beats_s = None if samples is None else _song_beats(samples, pitch, is_voiced, is_speech)
    return Prosody(
        rate_hz=PITCH_RATE_HZ,
        loudness_db_F=loudness,
        pitch_semitones_F=pitch,
        is_voiced_F=is_voiced,
        is_speech_F=is_speech,
        phrases_s=phrases.astype(np.float64) * _STEP_S,
        phrase_rises=_phrase_rises(pitch, is_voiced, phrases),
        accents_s=accents * _STEP_S,
        accent_strengths=strengths,
        accent_rises=rises,
        beats_s=np.zeros(0) if beats_s is None else beats_s,
        is_song=beats_s is not None,
        arousal=_arousal(loudness, pitch, is_voiced, is_speech),
        fingerprint=fingerprint,
    )


def _at_one_level(samples: Samples) -> Samples:
    """Quiet recordings raised, because the pitch network takes them for silence."""
    peak = float(np.abs(samples).max(initial=0))
    return samples * np.float32(_PEAK / peak) if peak > _SILENT_PEAK else np.zeros_like(samples)


def _speech(loudness_db: Doubles, is_voiced: Mask) -> Mask:
    if not len(loudness_db):
        return np.zeros(0, np.bool_)
    median_db, loud_db = np.percentile(loudness_db, (50, 95))
    if is_voiced.mean() < _LEAST_VOICED and loud_db - median_db < _STEADY_NOISE_DB:
        return np.zeros(len(loudness_db), np.bool_)  # hiss or hum alone
    noise_db = float(np.percentile(loudness_db, 10))
    threshold_db = np.clip(noise_db + _OVER_NOISE_DB, _SOFTEST_SPEECH_DB, _LOUDEST_NOISE_DB)
    is_loud = np.asarray(loudness_db > threshold_db)
    return _without_short_runs(_without_short_runs(is_loud, False, _PAUSE_S), True, _BURST_S)


def _runs(mask: Mask) -> NDArray[np.int64]:
    """(R, 2) first and one past the last index of each run of True."""
    edges = np.diff(mask.astype(np.int8), prepend=0, append=0)
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], 1)


def _without_short_runs(mask: Mask, value: bool, shorter_than_s: float) -> Mask:
    """Runs of `value` that are shorter become the opposite, but for gaps at both ends."""
    result = mask.copy()
    for start, stop in _runs(mask == value):
        is_at_end = start == 0 or stop == len(mask)
        if (stop - start) * _STEP_S < shorter_than_s and (value or not is_at_end):
            result[start:stop] = not value
    return result


def _pitch(track: PitchTrack, loudness_db: Doubles) -> tuple[Doubles, Mask]:
    """(T,) semitones from the voice's median, and where they were measured."""
    is_voiced = (track.confidence_T >= _VOICED) & (loudness_db > _SOFTEST_VOICE_DB)
    if not is_voiced.any():
        return np.zeros(len(loudness_db)), is_voiced
    octaves = np.log2(np.maximum(track.pitch_hz_T, 1.0))
    semitones = 12 * (octaves - np.median(octaves[is_voiced]))
    is_voiced &= np.abs(semitones) < _WIDEST_VOICE
    steps = np.flatnonzero(is_voiced)
    smooth = median_filter(semitones[steps], 5, mode="nearest")
    return np.interp(np.arange(len(semitones)), steps, smooth), is_voiced


def _accents(loudness_db: Doubles, pitch: Doubles, is_speech: Mask) -> tuple[Doubles, Doubles, Doubles]:
    """Steps, strengths, and rises in semitones."""
    if not is_speech.any():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    sigma = _ACCENT_SMOOTHING_S / _STEP_S
    curves = [gaussian_filter1d(np.maximum(loudness_db, -30), sigma), gaussian_filter1d(pitch, sigma)]
    scales = [max(float(curve[is_speech].std()), least) for curve, least in zip(curves, (3, 1), strict=True)]
    means = [float(curve[is_speech].mean()) for curve in curves]
    salience = sum((curve - mean) / scale for curve, mean, scale in zip(curves, means, scales, strict=True))
    salience = np.where(is_speech, salience, -4.0)
    steps, prominences = find_peaks(
        np.pad(salience, 1, constant_values=-4.0),
        distance=max(1, round(_ACCENT_DISTANCE_S / _STEP_S)),
        prominence=_ACCENT_PROMINENCE,
    )
    steps = steps - 1
    ranks = np.argsort(np.argsort(prominences + salience[steps]))
    reach = round(_RISE_S / _STEP_S)
    lowest = minimum_filter1d(curves[1], reach, origin=(reach - 1) // 2, mode="nearest")
    return steps.astype(np.float64), (ranks + 1) / (len(steps) + 1), (curves[1] - lowest)[steps]


def _phrase_rises(pitch: Doubles, is_voiced: Mask, phrases: NDArray[np.int64]) -> Doubles:
    """(P,) change of pitch over the last voiced third of a second."""
    rises = np.zeros(len(phrases))
    reach = round(_RISE_S / _STEP_S)
    for index, (start, stop) in enumerate(phrases):
        steps = start + np.flatnonzero(is_voiced[start:stop])
        if not len(steps):
            continue
        last = steps[steps > steps[-1] - reach]
        if len(last) >= reach // 3:
            slope = np.polyfit(last, pitch[last], 1)[0]
            rises[index] = slope * (last[-1] - last[0])
    return rises


def _song_beats(samples: Samples, pitch: Doubles, is_voiced: Mask, is_speech: Mask) -> Doubles | None:
    """Beats in seconds if the voice sings, else None.

    A song holds pitch on notes that lie far apart: pitch varies much for how little it slides, with few
    voiceless sounds, and the beat is more regular.
    """
    if is_voiced.sum() * _STEP_S < _SHORTEST_SONG_S or pitch[is_voiced].std() < _NARROWEST_SONG:
        return None
    if (is_voiced & is_speech).sum() < _SONG_VOICED * is_speech.sum():
        return None
    sliding = np.abs(np.gradient(gaussian_filter1d(pitch, 2)))[is_voiced] / _STEP_S
    tunefulness = float(pitch[is_voiced].std() / max(float(np.median(sliding)), 0.1))
    if tunefulness + _MOST_REGULAR < _SONG:
        return None
    beats_s, regularity = track_beats(samples)
    return beats_s if tunefulness + 0.5 * regularity > _SONG else None


def _arousal(loudness_db: Doubles, pitch: Doubles, is_voiced: Mask, is_speech: Mask) -> float:
    """0 to 1, from how far range of loudness and pitch, and pace, are from the mean of thirty readers."""
    if not (is_voiced & is_speech).any():
        return 0.0
    peaks, _ = find_peaks(
        gaussian_filter1d(np.maximum(loudness_db, -30), _ACCENT_SMOOTHING_S / _STEP_S),
        prominence=3,
        distance=6,
    )
    measured = (
        float(np.maximum(loudness_db, -30)[is_speech].std()),
        float(pitch[is_voiced].std()),
        float(is_speech[peaks].sum() / (is_speech.sum() * _STEP_S)),
    )
    excess = sum((value - mean) / spread for value, (mean, spread) in zip(measured, _READERS, strict=True))
    return float(1 / (1 + np.exp(0.85 - 0.4 * excess)))


def _fingerprint(audio: Audio) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for channel in audio.samples:
        for start in range(0, audio.num_samples, _HASHED_SAMPLES):
            part = channel[start : start + _HASHED_SAMPLES]
            digest.update(np.round(part * 2**15).astype("<i4").tobytes())
    return int.from_bytes(digest.digest(), "little")
