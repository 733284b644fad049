"""Statistics over the frames in which something was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean", "percentile_range", "ratio", "spread"]

Floats = NDArray[np.floating]


def mean(values: Floats) -> float:
    """Over the values that are numbers; NaN where none is."""
    seen = _finite(values)
    return float(seen.mean()) if len(seen) else float("nan")


def spread(values: Floats) -> float:
    """Standard deviation over the values that are numbers; NaN where none is."""
    seen = _finite(values)
    if not len(seen):
        return float("nan")
    # Not the deviation alone: that of equal numbers need not be quite zero.
    return float(seen.std()) if np.ptp(seen) > 0 else 0.0


def percentile_range(values: Floats, tail: float = 5.0) -> float:
    """From the `tail`-th percentile to the one as far from the top: one bad frame does not make it."""
    seen = _finite(values)
    if not len(seen):
        return float("nan")
    low, high = np.percentile(seen, (tail, 100 - tail))
    return float(high - low)


def ratio(part: float, whole: float) -> float:
    """NaN over zero."""
    return part / whole if whole else float("nan")


def _finite(values: Floats) -> Floats:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]
