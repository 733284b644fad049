"""Log-mel rows that do not depend on the gain of a recording: what a synchronisation network hears."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openemo.audio.mel import HOP_SAMPLES, SAMPLE_RATE_HZ, log_mel

__all__ = ["SAMPLE_RATE_HZ", "relative_log_mel"]

# Loudest row of a noise of about -65 dBFS: what is quieter than that is not blown up to speech.
_QUIETEST_PEAK = -0.25


def relative_log_mel(samples: npt.NDArray[np.float32], num_rows: int) -> npt.NDArray[np.float32]:
    """(num_rows, 80) float32, row i centred on i / 100 s; 1 at the loudest, -1 at 80 dB below it.

    Digital silence is one number throughout. A sound that ends early is silent from there.

    Args:
        samples: (N,) mono at 16 kHz.
    """
    length = num_rows * HOP_SAMPLES
    heard = np.pad(samples[:length], (0, max(0, length - samples.size))).astype(np.float32)
    rows = log_mel(heard).numpy().T
    return np.asarray(rows - max(float(rows.max()), _QUIETEST_PEAK) + 1.0, np.float32)
