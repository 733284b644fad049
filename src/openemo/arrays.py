"""Types of arrays that many files name. What an array holds, and its unit, is said where it is used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Doubles", "Floats", "Image", "Samples"]

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]

Image = NDArray[np.uint8]
"""(height, width, 3) RGB, or (height, width) grey."""

Samples = NDArray[np.float32]
"""(num_samples,) of one channel, in [-1, 1]."""
