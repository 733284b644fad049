"""What stands beside a correlation with real motion: the position in the clip alone, another clip's sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openemo.arrays import Doubles
from openemo.evaluation.metrics.frame_statistics import mean, ratio, spread
from openemo.evaluation.metrics.lips import correlation

__all__ = ["CorrelationBesideChance", "correlate_beside_chance"]


@dataclass(frozen=True)
class CorrelationBesideChance:
    """Means over clips; NaN with fewer than two clips where another clip is needed.

    Attributes:
        r: of the made motion with the real one.
        position_r: of the mean of all other clips' real motions, frame by frame, with the real one.
        other_sound_r: of what was made with another clip's sound with the real one.
        spread_ratio: standard deviation of the made motion over the real one's.
    """

    r: float
    position_r: float
    other_sound_r: float
    spread_ratio: float
    clips: int


def correlate_beside_chance(made: Sequence[Doubles], real: Sequence[Doubles]) -> CorrelationBesideChance:
    """Of motions (F,), one of each clip; NaN in frames that were not seen. Motions that rest count as 0."""
    pairs = list(zip(made, real, strict=True))
    own = [correlation(*pair) for pair in pairs]
    positions = [correlation(_mean_of_others(real, index), one) for index, one in enumerate(real)]
    others = [correlation(made[index - 1], one) for index, one in enumerate(real)]
    several = len(pairs) > 1
    return CorrelationBesideChance(
        mean(np.array(own)),
        mean(np.array(positions)) if several else float("nan"),
        mean(np.array(others)) if several else float("nan"),
        mean(np.array([ratio(spread(one), spread(other)) for one, other in pairs])),
        len(pairs),
    )


def _mean_of_others(curves: Sequence[Doubles], index: int) -> Doubles:
    """(F,) mean over the other clips at each frame; those that ended take no part."""
    length = len(curves[index])
    rows = [
        np.pad(curve.astype(np.float64), (0, max(0, length - len(curve))), constant_values=np.nan)[:length]
        for number, curve in enumerate(curves)
        if number != index
    ]
    stacked = np.array(rows).reshape(len(rows), length)
    seen = np.isfinite(stacked)
    total = np.where(seen, stacked, 0.0).sum(axis=0)
    return np.where(seen.any(axis=0), total / np.maximum(seen.sum(axis=0), 1), np.nan)
