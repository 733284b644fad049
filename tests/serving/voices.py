"""Voices that tests of the page send."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

__all__ = ["write_voice"]


def write_voice(path: Path, seconds: float) -> Path:
    """A hum as a WAV file."""
    samples = np.sin(np.arange(round(16_000 * seconds)) / 9) * 9_000
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path
