from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from openemo.audio.peaks import find_peaks


@pytest.mark.parametrize(
    ("length", "smoothing", "distance", "prominence"),
    [
        (0, 1, 1, 0.0),
        (1, 1, 2, 0.0),
        (2, 1, 1, 0.0),
        (700, 1, 1, 0.0),
        (700, 9, 6, 0.3),
        (3000, 40, 9, 0.01),
    ],
)
def test_peaks_are_scipys(length: int, smoothing: int, distance: int, prominence: float) -> None:
    curve = np.random.default_rng(length).normal(size=length + smoothing - 1)
    curve = np.convolve(curve, np.ones(smoothing) / smoothing, "valid") if length else np.zeros(0)
    expected, found = signal.find_peaks(curve, distance=distance, prominence=prominence)
    peaks, prominences = find_peaks(curve, distance=distance, prominence=prominence)
    np.testing.assert_array_equal(peaks, expected)
    np.testing.assert_array_equal(prominences, found["prominences"])
    assert length < 3 or len(peaks)


def test_plateaus() -> None:
    """Middles of even plateaus are rounded down; a plateau at an end is no peak."""
    curve = np.array([3.0, 3, 1, 2, 2, 0, 1, 1, 1, 0, 2, 2, 2, 2, 1, 5, 5])
    expected, found = signal.find_peaks(curve, distance=2, prominence=0.5)
    peaks, prominences = find_peaks(curve, distance=2, prominence=0.5)
    np.testing.assert_array_equal(peaks, expected)
    np.testing.assert_array_equal(prominences, found["prominences"])
