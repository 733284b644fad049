"""Clips with blinks at known times."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.metrics.blink_timing import SeenEyes, blink_timing

FPS = 25.0


def eyes(starts_s: list[float], seconds: float = 20, ends_s: tuple[float, ...] = ()) -> SeenEyes:
    opening = np.full(round(seconds * FPS), 0.3)
    for start in starts_s:
        opening[round(start * FPS) : round(start * FPS) + 4] = 0.05
    return SeenEyes(opening, np.array(ends_s), FPS)


def test_rate_first_blink_and_intervals() -> None:
    found = blink_timing([eyes([1, 3, 5, 7, 9, 11]), eyes([3, 5, 7, 9]), eyes([])])
    assert found.per_min == pytest.approx(10)
    assert found.first_s == 2
    assert found.first_spread_s == 1
    assert found.duration_s == pytest.approx(0.16)
    assert found.interval_cv == pytest.approx(0, abs=1e-9)
    assert np.isnan(blink_timing([eyes([1, 3])]).interval_cv)
    assert np.isnan(blink_timing([eyes([])]).first_s)


def test_log_normal_intervals_have_no_skew() -> None:
    rng = np.random.default_rng(1)

    def timing(intervals: NDArray[np.float64]) -> float:
        starts = np.cumsum(intervals)
        return blink_timing([eyes(starts.tolist(), seconds=starts[-1] + 1)]).interval_log_skew

    assert timing(np.exp(rng.normal(0.8, 0.5, 400))) == pytest.approx(0, abs=0.3)
    assert timing(0.3 + rng.exponential(2, 400)) < 0.3
    assert timing(np.where(rng.random(400) < 0.05, 22.0, 2.0)) > 2


def test_blinks_at_ends_of_phrases_against_chance() -> None:
    """Ends at 5, 10, 15 s: a tenth of the time is near them."""
    ends = (5.0, 10.0, 15.0)
    assert blink_timing([eyes([5.1, 10.1, 15.1], ends_s=ends)]).near_phrase_ends == pytest.approx(
        9.3, abs=0.4
    )
    assert blink_timing([eyes([5.1, 2, 3, 7, 8, 12, 13, 17, 18, 19], ends_s=ends)]).near_phrase_ends == (
        pytest.approx(0.93, abs=0.04)
    )
    assert np.isnan(blink_timing([eyes([1])]).near_phrase_ends)
