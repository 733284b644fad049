"""Statistics over the frames that could be measured. All ignore NaN, and are NaN if nothing is left."""

from __future__ import annotations

import numpy as np

from openemo.arrays import Floats

__all__ = ["mean", "percentile_range", "ratio", "spread"]


def mean(values: Floats) -> float:
    """Mean."""
    seen = _finite(values)
    return float(seen.mean()) if len(seen) else float("nan")


def spread(values: Floats) -> float:
    """Standard deviation."""
    seen = _finite(values)
    if not len(seen):
        return float("nan")
    # Rounding can make the deviation of equal numbers a little more than zero.
    return float(seen.std()) if np.ptp(seen) > 0 else 0.0


def percentile_range(values: Floats) -> float:
    """From the 5th to the 95th percentile, so that one bad frame does not decide it."""
    seen = _finite(values)
    if not len(seen):
        return float("nan")
    low, high = np.percentile(seen, (5.0, 95.0))
    return float(high - low)


def ratio(part: float, whole: float) -> float:
    """part / whole; NaN if `whole` is zero."""
    return part / whole if whole else float("nan")


def _finite(values: Floats) -> Floats:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]
