"""Voices that are made by formulas: phrases, pauses, syllables and pitch differ with the seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from openemo.audio import Audio, Prosody, measure_prosody

RATE_HZ = 16_000
STEPS_HZ = 200


def make_voice(seed: int, seconds: float = 8.0) -> Audio:
    """A hum of ten harmonics in syllables, with pauses of half a second after one to three seconds."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(seconds * STEPS_HZ)) / STEPS_HZ
    pitch, loud = np.zeros(len(times_s)), np.zeros(len(times_s))
    start_s = 0.3
    while start_s < seconds:
        end_s = start_s + rng.uniform(1, 3)
        inside = (times_s >= start_s) & (times_s < end_s)
        pitch[inside] = rng.uniform(0, 5) * np.linspace(1, -1, inside.sum())
        for syllable_s in np.arange(start_s + 0.1, end_s, 0.22):
            stress = rng.uniform(0.2, 1)
            shape = np.exp(-0.5 * ((times_s - syllable_s) / 0.06) ** 2)
            loud += stress * shape * inside
            pitch += 3 * stress**2 * shape * inside
        start_s = end_s + 0.5
    samples_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch, loud = (np.interp(samples_s, times_s, curve) for curve in (pitch, loud))
    phase = np.cumsum(rng.uniform(90, 220) * 2 ** (pitch / 12) / RATE_HZ)
    tones = loud * sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 11))
    return Audio((0.1 * tones)[None].astype(np.float32), RATE_HZ)


@pytest.fixture(scope="session")
def prosody_of() -> Callable[[int], Prosody]:
    """Prosody of the voice of a seed, measured once."""
    known: dict[int, Prosody] = {}

    def measured(seed: int) -> Prosody:
        if seed not in known:
            known[seed] = measure_prosody(make_voice(seed))
        return known[seed]

    return measured


@pytest.fixture(scope="session")
def silent_prosody() -> Prosody:
    return measure_prosody(Audio(np.zeros((1, RATE_HZ), np.float32), RATE_HZ))
