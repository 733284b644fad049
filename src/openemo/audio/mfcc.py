"""Mel-frequency cepstral coefficients as the published SyncNet takes them, as in `python_speech_features`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

__all__ = ["mfcc"]

SAMPLE_RATE_HZ = 16_000
_FRAME_SAMPLES, _HOP_SAMPLES, _FFT_SAMPLES = 400, 160, 512
_NUM_FILTERS, _NUM_COEFFICIENTS, _LIFTER = 26, 13, 22
_PREEMPHASIS = 0.97
_EPSILON = float(np.finfo(np.float64).eps)


def mfcc(samples: NDArray[np.floating]) -> NDArray[np.float64]:
    """(frames, 13) at 100 Hz; frame i covers 25 ms from sample 160 i, the last one is padded with zeros.

    The first coefficient is the logarithm of the energy. There is no window function (Davis and Mermelstein
    1980, with HTK's mel scale and lifter).

    Args:
        samples: (N,) mono at 16 kHz, in 16-bit units (-32768 to 32767), N at least 1.
    """
    signal = np.asarray(samples, np.float64)
    signal = np.append(signal[0], signal[1:] - _PREEMPHASIS * signal[:-1])
    count = 1 + max(0, -(-(len(signal) - _FRAME_SAMPLES) // _HOP_SAMPLES))
    signal = np.pad(signal, (0, max(0, (count - 1) * _HOP_SAMPLES + _FRAME_SAMPLES - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(signal, _FRAME_SAMPLES)[::_HOP_SAMPLES][:count]
    power = np.abs(np.fft.rfft(frames, _FFT_SAMPLES)) ** 2 / _FFT_SAMPLES
    bands = np.log(_positive(power @ _filters().T))
    order = np.arange(_NUM_COEFFICIENTS)
    lifter = 1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)
    coefficients = dct(bands, type=2, axis=1, norm="ortho")[:, :_NUM_COEFFICIENTS] * lifter
    coefficients[:, 0] = np.log(_positive(power.sum(1)))
    return np.asarray(coefficients, np.float64)


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values == 0, _EPSILON, values)


def _filters() -> NDArray[np.float64]:
    """(26, 257) triangular filters, evenly spaced in mel from 0 Hz to 8 kHz; corners on whole FFT bins."""
    top = 2595 * np.log10(1 + SAMPLE_RATE_HZ / 2 / 700)
    corners_hz = 700 * (10 ** (np.linspace(0, top, _NUM_FILTERS + 2) / 2595) - 1)
    corners = np.floor((_FFT_SAMPLES + 1) * corners_hz / SAMPLE_RATE_HZ)
    bins = np.arange(_FFT_SAMPLES // 2 + 1)
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return np.asarray(
        np.maximum(0, np.where(bins < middle, (bins - low) / (middle - low), (high - bins) / (high - middle)))
    )
