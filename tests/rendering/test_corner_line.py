"""Coordinates about the line between two corners, and piecewise linear mappings across it."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.rendering.corner_line import CornerLine, piecewise_linear


@pytest.mark.parametrize("is_swapped", [False, True])
def test_down_points_down_the_image_whichever_corner_comes_first(is_swapped: bool) -> None:
    left, right = np.array([10.0, 20.0]), np.array([50.0, 26.0])
    line = CornerLine.between(*((right, left) if is_swapped else (left, right)))
    assert line.width_px == pytest.approx(np.hypot(40, 6))
    assert line.down[1] > 0.9
    s, t = line.to_line(np.array([[30.0, 23.0], [30.0, 40.0]]))
    assert s[0] == pytest.approx(0.5)
    assert (t[0], t[1] > 10) == (pytest.approx(0, abs=1e-12), True)


def test_to_pixels_is_the_inverse_of_to_line() -> None:
    line = CornerLine.between(np.array([10.0, 20.0]), np.array([50.0, 26.0]))
    points = np.random.default_rng(0).uniform(0, 60, (5, 7, 2))
    np.testing.assert_allclose(line.to_pixels(*line.to_line(points)), points)


def test_knots_are_met_and_beyond_the_last_knots_the_offset_is_constant() -> None:
    targets, sources = (tuple(np.array([v]) for v in values) for values in ((0.0, 4.0, 6.0), (1.0, 3.0, 9.0)))
    got = [
        float(piecewise_linear(np.array([t]), targets, sources)[0])
        for t in (0.0, 2.0, 4.0, 5.0, 6.0, 8.0, -3.0)
    ]
    assert got == pytest.approx([1.0, 2.0, 3.0, 6.0, 9.0, 11.0, -2.0])
