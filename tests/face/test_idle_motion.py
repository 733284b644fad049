"""Blinks and head movements: number, speed, start at rest, reproducible by seed."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face.idle_motion import random_blinks, random_motion_conditions

MINUTES = 20


def _head(fps: int = 25, *, motion: float = 1, seed: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return random_motion_conditions(MINUTES * 60 * fps, Fraction(fps), head_motion=motion, rng=rng)


def _blinks(fps: int = 25, *, rate: float = 15, seed: int = 3) -> NDArray[np.floating]:
    rng = np.random.default_rng(seed)
    return random_blinks(MINUTES * 60 * fps, Fraction(fps), per_minute=rate, rng=rng)


def _count(closed: NDArray[np.floating]) -> int:
    """How often the eyes become more than half closed."""
    is_closed = closed > 0.5
    return int((is_closed[1:] & ~is_closed[:-1]).sum())


@pytest.mark.parametrize(("fps", "rate"), [(25, 15), (25, 8), (30, 25), (60, 15)])
def test_the_mean_number_of_blinks_is_as_asked_at_any_frame_rate(fps: int, rate: float) -> None:
    # A few hundred random pauses: the standard deviation of the mean is under 4 %.
    assert _count(_blinks(fps, rate=rate)) / MINUTES == pytest.approx(rate, rel=0.12)


def test_a_blink_closes_the_eye_fully_and_takes_a_third_of_a_second() -> None:
    closed = _blinks(50)
    assert closed.max() == pytest.approx(1, abs=0.01)
    assert closed.min() == 0
    assert 0.15 < (closed > 0.1).sum() / 50 / _count(closed) < 0.45


def test_the_head_drifts_slowly_and_starts_at_rest() -> None:
    head = _head()[:, 1:]
    assert not head[0].any()
    assert head[1000:].std(0) == pytest.approx(np.ones(4), abs=0.1)
    assert np.abs(np.diff(head, axis=0)).mean() < 0.2  # per frame a fifth of the standard deviation
    for first, second in combinations(head.T, 2):
        assert abs(np.mean(first * second)) < 0.15
    assert _head(motion=2)[:, 1:] == pytest.approx(2 * head, rel=1e-5)


def test_both_can_be_switched_off_and_a_seed_repeats_them() -> None:
    assert not _head(motion=0).any()
    assert not _blinks(rate=0).any()
    for draw in (_head, _blinks):
        assert np.array_equal(draw(seed=4), draw(seed=4))
        assert not np.array_equal(draw(seed=4), draw(seed=5))


def test_a_video_of_one_frame_is_at_rest() -> None:
    rng = np.random.default_rng(0)
    one = random_motion_conditions(1, Fraction(25), head_motion=1, rng=rng)
    assert one.shape == (1, 5)
    assert not one.any()
    assert not random_blinks(1, Fraction(25), per_minute=60, rng=rng).any()
