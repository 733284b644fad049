"""How far a mouth moves with a voice, measured before the first frame.

A small network predicts the mean of plausible motions. For a voice unlike those of the training it is less
sure, and its mean is smaller; with some faces it moves less than with others. So each mouth is brought to the
amplitude of people who talk.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np

from openemo.arrays import Floats
from openemo.audio.audio_reader import Audio

__all__ = ["lip_gain", "loud_clips"]

# Spreads in face widths: of what is no speech, and of what surely is.
_NO_SPEECH, _SPEECH = 0.004, 0.010
_DEFAULT_GAIN: Final = 1.2  # for what is no speech: what the corpus' own voices need
_GAINS: Final = (0.8, 1.8)


def lip_gain(parting: Floats, spread: float) -> float:
    """Factor that brings the parting of the lips to a spread, within 0.8 to 1.8.

    Args:
        parting: of the lips, in face widths, in the loud parts of a voice.
        spread: standard deviation, in face widths.
    """
    found = float(np.std(parting))
    wanted = float(np.clip(spread / max(found, 1e-6), *_GAINS))
    sure = float(np.clip((found - _NO_SPEECH) / (_SPEECH - _NO_SPEECH), 0, 1))
    return _DEFAULT_GAIN + sure * (wanted - _DEFAULT_GAIN)


def loud_clips(audio: Audio, num_frames: int, clip_frames: int, fps: Fraction, count: int = 6) -> list[int]:
    """First frames of at most `count` clips, in order, spread over the louder half of a sound."""
    starts = np.arange(0, max(num_frames - clip_frames, 0) + 1, clip_frames)
    edges = np.array([[first, first + clip_frames] for first in starts]) * float(audio.sample_rate_hz / fps)
    power = np.square(audio.samples).mean(axis=0, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(power)])
    first, last = total[np.minimum(edges.astype(int), len(power))].T
    loud = np.sort(np.argsort(first - last, kind="stable")[: -(-len(starts) // 2)])
    chosen = loud[np.unique(np.linspace(0, len(loud) - 1, min(count, len(loud))).round().astype(int))]
    return [int(starts[index]) for index in chosen]
