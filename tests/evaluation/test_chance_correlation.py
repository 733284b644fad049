"""Correlations with real motion, beside position alone and another clip's sound."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.evaluation.metrics.chance_correlation import correlate_beside_chance


def test_motions_that_follow_their_own_sound_alone() -> None:
    rng = np.random.default_rng(0)
    real = [rng.normal(size=400) for _ in range(4)]
    found = correlate_beside_chance([0.5 * each for each in real], real)
    assert found.r == pytest.approx(1)
    assert found.spread_ratio == pytest.approx(0.5)
    assert abs(found.position_r) < 0.1
    assert abs(found.other_sound_r) < 0.1
    assert found.clips == 4


def test_motions_that_are_all_alike_gain_nothing_from_their_sound() -> None:
    """Sentences of one form: position tells as much. Clips may differ in length and lack frames."""
    curve = np.sin(np.arange(60) / 5)
    real = [curve, curve[:50], np.append(curve, np.nan)]
    found = correlate_beside_chance(real, real)
    assert [found.r, found.position_r, found.other_sound_r] == pytest.approx([1, 1, 1])


def test_one_clip_has_nothing_beside_it() -> None:
    found = correlate_beside_chance([np.zeros(9)], [np.arange(9.0)])
    assert found.r == 0
    assert np.isnan(found.position_r)
    assert np.isnan(found.other_sound_r)
    assert correlate_beside_chance([], []).clips == 0
