"""Intervals with known answers, and how often they contain the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.metrics.confidence import Estimate, bootstrap, jackknife, paired_difference


def test_mean_is_the_mean_and_lies_in_its_interval() -> None:
    values = [0.1, 0.4, 0.2, 0.7, 0.6]
    found = bootstrap(values)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    assert 0.1 <= found.low < 0.4 < found.high <= 0.7
    assert found.clips == 5
    assert bootstrap(values) == found  # the same resamples each time: a report can be made again


def test_clips_that_could_not_be_measured_do_not_count() -> None:
    assert bootstrap([0.1, np.nan, 0.4]) == bootstrap([0.1, 0.4])
    assert bootstrap([np.nan]) == Estimate(value=None, low=None, high=None, clips=0)
    assert bootstrap([]) == Estimate(value=None, low=None, high=None, clips=0)
    assert bootstrap([0.3]) == Estimate(value=0.3, low=None, high=None, clips=1)


def test_interval_of_equal_clips_is_a_point() -> None:
    assert bootstrap([0.25] * 6) == Estimate(value=0.25, low=0.25, high=0.25, clips=6)


@pytest.mark.parametrize("num_clips", [8, 30])
def test_intervals_contain_the_truth_as_often_as_they_say(num_clips: int) -> None:
    rng = np.random.default_rng(3)
    trials = 400
    contained = 0
    for _ in range(trials):
        found = bootstrap(rng.normal(2.0, 0.7, num_clips))
        assert found.low is not None
        assert found.high is not None
        contained += found.low <= 2.0 <= found.high
    # 95 %, and three standard deviations of 400 trials: 3.3 %. The plain interval: 89 % at 8 clips.
    assert contained / trials == pytest.approx(0.95, abs=0.033)


def test_pairing_removes_how_hard_the_clips_are() -> None:
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 1, 12)
    first, second = hard + 0.1 + rng.normal(0, 0.02, 12), hard
    assert paired_difference(list(first), list(second)).excludes_zero
    assert not paired_difference(list(first), list(rng.permutation(second))).excludes_zero
    only_one = paired_difference([1.0, np.nan], [0.5, 0.5])
    assert (only_one.value, only_one.clips, only_one.excludes_zero) == (0.5, 1, False)


def test_few_clips_prove_nothing() -> None:
    assert not paired_difference([0.5] * 5, [0.1, 0.2, 0.1, 0.2, 0.1]).excludes_zero
    assert paired_difference([0.5] * 6, [0.1, 0.2, 0.1, 0.2, 0.1, 0.2]).excludes_zero


def test_ratios_are_of_sums() -> None:
    columns = np.array([[1.0, 4.0], [3.0, 4.0], [np.nan, 100.0]])

    def ratio(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values[..., 0].sum(1) / values[..., 1].sum(1))

    found = bootstrap(columns, ratio)
    assert (found.value, found.clips) == (0.5, 2)


def test_jackknife_of_a_mean_is_the_interval_of_students_t() -> None:
    values = np.array([3.0, 5.0, 4.0, 8.0])
    found = jackknife(values.mean(), [float(np.delete(values, i).mean()) for i in range(4)])
    reach = 3.182446 * values.std(ddof=1) / 2  # t of 3 degrees of freedom
    assert found.value == 5
    assert found.low == pytest.approx(5 - reach, rel=1e-6)
    assert found.high == pytest.approx(5 + reach, rel=1e-6)


def test_jackknife_without_enough_clips_has_no_interval() -> None:
    assert jackknife(2.0, []) == Estimate(value=2.0, low=None, high=None, clips=0)
    assert jackknife(float("nan"), [1.0, 2.0]).value is None
    assert jackknife(2.0, [1.0, float("nan")]).low is None
