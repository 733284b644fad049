"""Blinks and head movements: how many, how fast, from rest, and the same for a seed."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.liveliness import draw_gestures

MINUTES = 20


def _draw(
    fps: int = 25, *, blinks: float = 15, head: float = 1, gap: float = 0.3, seed: int = 3
) -> NDArray[np.float32]:
    return draw_gestures(
        MINUTES * 60 * fps,
        Fraction(fps),
        lid_gap=gap,
        blinks_per_minute=blinks,
        head_motion=head,
        rng=np.random.default_rng(seed),
    )


def _count(lids: NDArray[np.float32]) -> int:
    """How often the lids pass half way down."""
    shut = lids < lids.min() / 2
    return int((shut[1:] & ~shut[:-1]).sum())


@pytest.mark.parametrize(("fps", "rate"), [(25, 15), (25, 8), (30, 25), (60, 15)])
def test_people_blink_as_often_as_asked_at_any_frame_rate(fps: int, rate: float) -> None:
    # Pauses are drawn, a few hundred of them: a standard deviation is under 4 %.
    assert _count(_draw(fps, blinks=rate)[:, 0]) / MINUTES == pytest.approx(rate, rel=0.12)


def test_a_blink_shuts_the_eye_wholly_and_takes_a_third_of_a_second() -> None:
    lids = _draw(50, gap=0.28)[:, 0]
    assert lids.min() == pytest.approx(-(0.28 - 0.02) / 0.1, rel=0.02)
    assert lids.max() == 0
    down = lids < 0.1 * lids.min()
    assert 0.15 < down.sum() / 50 / _count(lids) < 0.45
    assert not _draw(gap=0.02)[:, 0].any()  # eyes that are shut in the portrait stay so


def test_the_head_drifts_slowly_and_starts_at_rest() -> None:
    head = _draw()[:, 1:]
    assert not head[0].any()
    assert head[1000:].std(0) == pytest.approx(np.ones(4), abs=0.1)
    assert np.abs(np.diff(head, axis=0)).mean() < 0.2  # a fifth of its spread in a frame
    for first, second in combinations(head.T, 2):
        assert abs(np.mean(first * second)) < 0.15
    assert _draw(head=2)[:, 1:] == pytest.approx(2 * head, rel=1e-5)


def test_both_can_be_switched_off_and_a_seed_repeats() -> None:
    assert not _draw(blinks=0, head=0).any()
    assert np.array_equal(_draw(seed=4), _draw(seed=4))
    assert not np.array_equal(_draw(seed=4), _draw(seed=5))


def test_very_short_videos_have_gestures_too() -> None:
    one = draw_gestures(
        1, Fraction(25), lid_gap=0.3, blinks_per_minute=60, head_motion=1, rng=np.random.default_rng(0)
    )
    assert one.shape == (1, 5)
    assert not one.any()
