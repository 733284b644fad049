"""Makes a sung clip from a spoken one: long vowels, notes with vibrato, music behind them.

The WORLD vocoder (Morise et al. 2016) splits speech into pitch, spectral envelope and noise. Pitch is set to
notes, and vowels are synthesised more slowly. The face of the song is the face of the clip, slower in the
same vowels. No recording of singing is needed.

Shape letters: N samples, T steps of the vocoder, B bands, M steps of the song, V vowels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np

from openemo.arrays import Doubles, Samples
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ
from openemo.errors import ConfigError

__all__ = ["STEP_S", "accompany", "load_vocoder", "sing"]

STEP_S: Final = 0.005

# A vowel is voiced, and nearly as loud as the loudest moment within 0.3 s; powers in nepers.
_NEAR: Final = round(0.3 / STEP_S)
_BELOW_PEAK, _BELOW_LOUDEST = 1.6, 5.0
_SHORTEST_S: Final = 0.03
_LONG_SHARE, _LONGEST_S, _MAX_SLOWER = 0.7, 0.9, 5.0
_LOWEST_KEY, _HIGHEST_KEY = 48, 62  # MIDI notes of the key; the tune goes up to an octave above
_MAJOR: Final = (0, 2, 4, 5, 7, 9, 11, 12)
_GLIDE: Final = 15  # steps from one note to the next
_CHORDS: Final = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16), (2, 5, 9))


def load_vocoder() -> Any:
    """The module pyworld. Raises ConfigError if it is not installed."""
    try:
        import pyworld
    except ModuleNotFoundError as error:
        raise ConfigError("sung clips need pyworld", fix="pip install 'openemo[data]'") from error
    return pyworld


def sing(samples: Samples, rng: np.random.Generator) -> tuple[Samples, Doubles]:
    """The words of a clip on a random tune.

    Args:
        samples: (N,) speech at 16 kHz.

    Returns:
        samples of the song, at least as long as the clip and as loud; and (M,) time in the clip, in seconds,
        of each `STEP_S` of the song, not falling.

    Raises:
        ConfigError: pyworld is not installed.
    """
    pyworld = load_vocoder()
    speech = samples.astype(np.float64)
    coarse_T, times_T = pyworld.dio(speech, SAMPLE_RATE_HZ, frame_period=1000 * STEP_S)
    pitch_T = pyworld.stonemask(speech, coarse_T, times_T, SAMPLE_RATE_HZ)
    envelope_TB = pyworld.cheaptrick(speech, pitch_T, times_T, SAMPLE_RATE_HZ)
    noise_TB = pyworld.d4c(speech, pitch_T, times_T, SAMPLE_RATE_HZ)
    vowels = _vowels(pitch_T, envelope_TB)
    slower_T, note_T = _tune(vowels, len(pitch_T), rng)
    ends = np.append(0, np.cumsum(slower_T))
    source_M = np.interp(np.arange(int(ends[-1])), ends, np.arange(len(ends)))
    steps = np.minimum(source_M.astype(int), len(pitch_T) - 1)
    vibrato_M = rng.uniform(0.1, 0.45) * np.sin(
        2 * np.pi * rng.uniform(5, 6.5) * STEP_S * np.arange(len(steps))
    )
    pitch_M = _hertz(_smooth(note_T[steps], _GLIDE) + vibrato_M) * (pitch_T[steps] > 0)
    size = float(np.exp(rng.uniform(np.log(0.85), np.log(1.25))))
    envelope_MB, noise_MB = (_scale_formants(bands_TB, size)[steps] for bands_TB in (envelope_TB, noise_TB))
    song = pyworld.synthesize(pitch_M, envelope_MB, noise_MB, SAMPLE_RATE_HZ, 1000 * STEP_S)
    level = np.sqrt((speech**2).mean() / max(float((song**2).mean()), 1e-12))
    return (level * song).astype(np.float32), source_M * STEP_S


def accompany(samples: Samples, rng: np.random.Generator, *, below_db: float) -> Samples:
    """Adds chords, a bass and sometimes drums to samples (N,), `below_db` decibels quieter than these."""
    length = len(samples)
    music = np.zeros(length)
    key, beat_s, tilt, decay = (rng.uniform(*ends) for ends in ((52, 64), (0.35, 0.7), (0.8, 2), (0.3, 3)))
    apart_s = beat_s / 4 if rng.random() < 0.5 else 0.0  # an arpeggio
    times = np.arange(round(2 * beat_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    fades = np.minimum(1, times / 0.01) * np.minimum(1, times[::-1] / 0.02) * np.exp(-decay * times)
    for bar_s in np.arange(0, length / SAMPLE_RATE_HZ, 2 * beat_s):
        chord = _CHORDS[rng.integers(len(_CHORDS))]
        for position, step in enumerate((*chord, chord[0] - 12)):
            tones = float(_hertz(np.array(key + step))) * np.arange(1, 11)
            tones = tones[tones < 0.47 * SAMPLE_RATE_HZ, None]
            waves = np.sin(2 * np.pi * tones * times + rng.uniform(0, 2 * np.pi, tones.shape))
            _add(music, bar_s + position * apart_s, fades * (waves * (tones / tones[0]) ** -tilt).sum(0))
    if rng.random() < 0.7:
        hit = times[: round(0.15 * SAMPLE_RATE_HZ)]
        for index, at_s in enumerate(np.arange(0, length / SAMPLE_RATE_HZ, beat_s / 2)):
            drum = 2 * np.sin(2 * np.pi * 60 * hit) * np.exp(-20 * hit)
            cymbal = rng.standard_normal(len(hit)) * np.exp(-60 * hit)
            _add(music, at_s, rng.uniform(0.3, 1.2) * (cymbal if index % 2 else drum))
    level = np.sqrt((samples**2).mean() / (music**2).mean()) * 10 ** (-below_db / 20)
    return np.asarray(samples + level * music, np.float32)


def _vowels(pitch_T: Doubles, envelope_TB: Doubles) -> list[tuple[int, int]]:
    """First and last step (exclusive) of each."""
    power_T = _smooth(np.log(envelope_TB.sum(1) + 1e-12), 7)
    near = np.lib.stride_tricks.sliding_window_view(
        np.pad(power_T, _NEAR, constant_values=-np.inf), 2 * _NEAR + 1
    )
    loud_T = (power_T > near.max(1) - _BELOW_PEAK) & (power_T > power_T.max() - _BELOW_LOUDEST)
    edges = np.flatnonzero(np.diff(np.pad(loud_T & (pitch_T > 0), 1).astype(int)))
    return [(a, b) for a, b in edges.reshape(-1, 2).tolist() if (b - a) * STEP_S >= _SHORTEST_S]


def _tune(vowels: list[tuple[int, int]], length: int, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Of each of `length` steps: how many times slower it is, and its MIDI note; one note per vowel."""
    key, degree = rng.uniform(_LOWEST_KEY, _HIGHEST_KEY), int(rng.integers(len(_MAJOR)))
    slower_T, note_T = np.ones(length), np.full(length, key + _MAJOR[degree])
    if not vowels:
        return slower_T, note_T
    middles = [(a + b) // 2 for a, b in vowels]
    bounds = [0, *((a + b) // 2 for a, b in pairwise(middles)), length]
    for (a, b), (start, end) in zip(vowels, pairwise(bounds), strict=True):
        if rng.random() < _LONG_SHARE:
            slower = float(np.exp(rng.uniform(0, np.log(_MAX_SLOWER))))
            # The ends keep their pace: there the mouth moves to the next sound.
            slower_T[a + 1 : b - 1] = max(1.0, min(slower, _LONGEST_S / ((b - a) * STEP_S)))
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, len(_MAJOR) - 1))
        note_T[start:end] = key + _MAJOR[degree]
    return slower_T, note_T


def _hertz(note: Doubles) -> Doubles:
    return np.asarray(440 * 2 ** ((note - 69) / 12))


def _smooth(values_T: Doubles, width: int) -> Doubles:
    """Weighted mean over an odd number of steps."""
    kernel = np.hanning(width + 2)[1:-1]
    padded = np.pad(values_T, width // 2, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), "valid")


def _scale_formants(bands_TB: Doubles, factor: float) -> Doubles:
    """Formants at `factor` times their frequencies, as of another vocal tract."""
    bands = np.arange(bands_TB.shape[1])
    source = np.minimum(bands / factor, bands[-1])
    below = np.minimum(source.astype(int), bands[-1] - 1)
    share = source - below
    return np.asarray(bands_TB[:, below] * (1 - share) + bands_TB[:, below + 1] * share)


def _add(music: Doubles, at_s: float, sound: Doubles) -> None:
    start = round(at_s * SAMPLE_RATE_HZ)
    part = music[start : start + len(sound)]
    part += sound[: len(part)]
