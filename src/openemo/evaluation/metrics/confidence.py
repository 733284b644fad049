"""Confidence intervals over clips, not over frames.

Frames of one clip are alike. Counting them as independent would make every interval far too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

from openemo.arrays import Doubles

__all__ = ["MIN_CLIPS", "Estimate", "bootstrap", "jackknife", "paired_difference"]


CONFIDENCE: Final = 0.95
RESAMPLES: Final = 4000
MIN_CLIPS: Final = 6
_SEED: Final = 0


class Estimate(BaseModel):
    """A figure over clips.

    Attributes:
        value: None if no clip could be measured.
        low, high: the 95 % interval; None under two clips.
        clips: how many clips it is of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: float | None
    low: float | None
    high: float | None
    clips: int

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is beyond noise. Never under six clips.

        All of five clips lie on one side for equal models too, with a probability of 2 / 2^5 = 6 %. A
        bootstrap cannot know that, because it draws only values that it has seen.
        """
        if self.low is None or self.high is None or self.clips < MIN_CLIPS:
            return False
        return self.low > 0 or self.high < 0


def bootstrap(
    columns: Sequence[float] | Doubles, statistic: Callable[[Doubles], Doubles] | None = None
) -> Estimate:
    """Percentile bootstrap over clips, with the same resamples at each call.

    For few clips the percentiles are widened as the t distribution is against the normal one ("expanded
    percentile interval", Hesterberg, "What teachers should know about the bootstrap", 2015). With ten clips
    the plain interval would miss the truth about twice as often as it says.

    Args:
        columns: (clips,) or (clips, K). Clips with a NaN are left out.
        statistic: gives (R,), a figure of each resample, of (R, clips, K) or (R, clips); None for the mean.
    """
    values = np.asarray(columns, np.float64)
    seen = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(axis=1)
    values = values[seen]
    count = len(values)
    measure = statistic if statistic is not None else _mean
    if count == 0:
        return Estimate(value=None, low=None, high=None, clips=0)
    value = _finite(float(measure(values[None])[0]))
    if count == 1 or value is None:
        return Estimate(value=value, low=None, high=None, clips=count)
    choices = np.random.default_rng(_SEED).integers(count, size=(RESAMPLES, count))
    resampled = measure(values[choices])
    resampled = resampled[np.isfinite(resampled)]
    tail = stats.norm.cdf(np.sqrt(count / (count - 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, count - 1))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high), clips=count)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of first - second over the clips that have both. Pairing removes how hard each clip is."""
    return bootstrap(np.asarray(first, np.float64) - np.asarray(second, np.float64))


def jackknife(value: float, left_out: Sequence[float]) -> Estimate:
    """Interval of a figure of the whole set, such as a Fréchet distance, from leaving out each clip once.

    A bootstrap repeats clips. A set with repeated clips is farther from any other set, so its distance is too
    large. The interval is value +- t s, with Tukey's jackknife deviation s (1958).

    Args:
        value: with all clips.
        left_out: the figure without the first clip, without the second, ...
    """
    values = np.asarray(left_out, np.float64)
    count = len(values)
    if not np.isfinite(value) or count < 2 or not np.isfinite(values).all():
        return Estimate(value=_finite(value), low=None, high=None, clips=count)
    deviation = np.sqrt((count - 1) / count * ((values - values.mean()) ** 2).sum())
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation)
    return Estimate(value=value, low=value - reach, high=value + reach, clips=count)


def _mean(values: Doubles) -> Doubles:
    return np.asarray(values.mean(axis=1), np.float64)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
