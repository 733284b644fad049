"""Log-mel rows that do not depend on the gain of a recording: the audio input of sync networks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openemo.audio.mel import HOP_SAMPLES, SAMPLE_RATE_HZ, log_mel

__all__ = ["SAMPLE_RATE_HZ", "relative_log_mel"]

# Loudest row of a noise of about -65 dBFS. Quieter audio is not scaled up to the level of speech.
_QUIETEST_PEAK = -0.25


def relative_log_mel(samples: npt.NDArray[np.float32], num_rows: int) -> npt.NDArray[np.float32]:
    """(num_rows, 80) float32, row i centred on i / 100 s; 1 at the loudest point, -1 at 80 dB below it.

    Digital silence has the same value everywhere. Audio that ends early is padded with silence.

    Args:
        samples: (N,) mono at 16 kHz.
    """
    length = num_rows * HOP_SAMPLES
    padded = np.pad(samples[:length], (0, max(0, length - samples.size))).astype(np.float32)
    rows = log_mel(padded).numpy().T
    return np.asarray(rows - max(float(rows.max()), _QUIETEST_PEAK) + 1.0, np.float32)
