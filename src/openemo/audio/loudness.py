"""Loudness normalisation, so that the level of a recording does not change the motion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["gated_level_dbfs", "normalise_loudness"]

BLOCK_S = 0.4
ABSOLUTE_GATE_DBFS = -60.0
RELATIVE_GATE_DB = -10.0
MAX_GAIN_DB = 30.0


def normalise_loudness(
    samples: npt.NDArray[np.float32], sample_rate_hz: int, target_dbfs: float = -23.0
) -> npt.NDArray[np.float32]:
    """Scales mono samples (num_samples,) so that their gated RMS is `target_dbfs`. Peaks may then exceed 1.

    Blocks of 0.4 s are gated as in ITU-R BS.1770, without its frequency weighting: first at -60 dBFS, then at
    10 dB under the mean of the rest. So pauses do not count. Samples without a block above -60 dBFS are
    silence and are returned unchanged. The gain is at most 30 dB, so that room noise does not become as loud
    as speech.
    """
    level_dbfs = gated_level_dbfs(samples, sample_rate_hz)
    if level_dbfs is None:
        return samples
    gain_db = min(target_dbfs - level_dbfs, MAX_GAIN_DB)
    return samples * np.float32(10 ** (gain_db / 20))


def gated_level_dbfs(samples: npt.NDArray[np.float32], sample_rate_hz: int) -> float | None:
    """RMS of mono samples (num_samples,) without their pauses; None for silence."""
    block = max(1, round(BLOCK_S * sample_rate_hz))
    starts = np.arange(0, samples.size, block)
    if not starts.size:
        return None
    sizes = np.diff(np.append(starts, samples.size))
    powers = np.add.reduceat(np.square(samples, dtype=np.float64), starts) / sizes
    loud = powers > 10 ** (ABSOLUTE_GATE_DBFS / 10)
    if not loud.any():
        return None
    mean = np.average(powers[loud], weights=sizes[loud])
    kept = loud & (powers > mean * 10 ** (RELATIVE_GATE_DB / 10))
    return float(10 * np.log10(np.average(powers[kept], weights=sizes[kept])))
