"""Fingerprints of sounds that stay what they are when a file is encoded again (Haitsma and Kalker, 2002)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.audio.audio_reader import Audio
from openemo.corpus.build_settings import FPS

__all__ = ["difference", "sound_print"]

_RATE_HZ: Final = 16_000
_WINDOW: Final = 5920  # 0.37 s: what is cut elsewhere by half a step still has most bits
_HOP: Final = _RATE_HZ // FPS
_BAND_EDGES_HZ: Final = np.geomspace(200, 3000, 18)


def sound_print(audio: Audio) -> NDArray[np.uint16]:
    """(F,) sixteen bits for each 1/25 s: whether a band gains on the next one from one step to the next."""
    samples = audio.mono().resample(_RATE_HZ).samples[0]
    count = max(len(samples) // _HOP, 1)
    padded = np.pad(samples, (_WINDOW // 2, _WINDOW + count * _HOP - len(samples)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][: count + 1]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    edges = np.rint(_BAND_EDGES_HZ * _WINDOW / _RATE_HZ).astype(int)
    bands = np.add.reduceat(power, edges, axis=1)[:, :-1]
    gains = np.diff(np.diff(bands, axis=1), axis=0) < 0
    return np.asarray(gains @ (1 << np.arange(16)), np.uint16)


def difference(one: NDArray[np.uint16], other: NDArray[np.uint16], shift: int) -> float:
    """Share of bits that differ where both are heard; 0.5 for sounds that have nothing in common.

    Args:
        shift: `other` begins so many steps later.
    """
    first, stop = max(0, shift), min(len(one), len(other) + shift)
    if stop <= first:
        return 0.5
    different = np.bitwise_xor(one[first:stop], other[first - shift : stop - shift])
    return float(np.bitwise_count(different).mean() / 16)
