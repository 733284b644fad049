"""Concordance of two mouth curves with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.evaluation.metrics.lips import concordance, correlation

REAL = np.array([0.01, 0.09, 0.02, 0.07, 0.03, 0.08, 0.01])


def test_only_the_same_curve_is_at_1() -> None:
    assert concordance(REAL, REAL) == pytest.approx(1)
    assert concordance(-REAL, -REAL) == pytest.approx(1)
    # Half the amplitude around the same mean: 2 * 0.5 / (0.25 + 1).
    assert concordance(0.5 * (REAL - REAL.mean()) + REAL.mean(), REAL) == pytest.approx(0.8)
    # Another resting opening, one standard deviation off: 2 / (2 + 1).
    assert concordance(REAL + REAL.std(), REAL) == pytest.approx(2 / 3)


def test_a_mouth_that_hardly_moves_is_near_0_whatever_its_r() -> None:
    faint = 0.01 * (REAL - REAL.mean()) + REAL.mean()
    assert correlation(faint, REAL) == pytest.approx(1)
    assert concordance(faint, REAL) == pytest.approx(0.02, abs=1e-3)
    assert concordance(np.full(7, 0.04), REAL) == pytest.approx(0)


def test_frames_without_a_face_do_not_count() -> None:
    made = np.append(REAL, 0.5)
    made[2] = np.nan
    assert concordance(made, REAL) == pytest.approx(1)
    assert np.isnan(concordance(np.full(7, np.nan), REAL))
