"""Peaks of a curve, as `scipy.signal.find_peaks` finds them; scipy.signal imports nearly all of scipy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles

__all__ = ["find_peaks"]

_FIRST_REACH = 64  # samples; searches go on in doubled reaches


def find_peaks(
    curve: Doubles, *, distance: int, prominence: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Positions and prominences of the peaks.

    Args:
        distance: samples between two peaks at least; of two that are closer the higher one stays.
        prominence: least height over the higher one of the lowest points to the left and to the right, each
            before the curve rises above the peak.
    """
    peaks = _apart(curve, _maxima(curve), distance)
    prominences = np.array([_prominence(curve, peak) for peak in peaks.tolist()], np.float64)
    is_kept = prominences >= prominence
    return peaks[is_kept], prominences[is_kept]


def _maxima(curve: Doubles) -> NDArray[np.int64]:
    """Higher than their neighbours; of a plateau its middle. Ends are none."""
    starts = np.flatnonzero(np.diff(curve, prepend=np.nan))  # of runs of one value
    heights, ends = curve[starts], np.append(starts, len(curve))[1:] - 1
    is_peak = np.zeros(len(starts), bool)
    is_peak[1:-1] = (heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])
    return np.asarray((starts[is_peak] + ends[is_peak]) // 2, np.int64)


def _apart(curve: Doubles, peaks: NDArray[np.int64], distance: int) -> NDArray[np.int64]:
    """The highest first: each takes away those too close to it."""
    is_kept = np.ones(len(peaks), bool)
    firsts = np.searchsorted(peaks, peaks - distance, side="right")
    ends = np.searchsorted(peaks, peaks + distance, side="left")
    for index in np.argsort(curve[peaks])[::-1]:
        if is_kept[index]:
            is_kept[firsts[index] : ends[index]] = False
            is_kept[index] = True
    return peaks[is_kept]


def _prominence(curve: Doubles, peak: int) -> float:
    lowest = max(_lowest(curve[peak::-1]), _lowest(curve[peak:]))
    return float(curve[peak] - lowest)


def _lowest(side: Doubles) -> float:
    """The lowest value before the curve rises above its first one."""
    reach = _FIRST_REACH
    while True:
        above = side[:reach] > side[0]
        if above.any():
            return float(side[: int(above.argmax())].min())
        if reach >= len(side):
            return float(side.min())
        reach *= 2
