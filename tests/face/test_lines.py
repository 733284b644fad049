"""Coordinates about a line between two landmarks, and curves that carry along what lies between them."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.face.lines import CornerLine, follow


@pytest.mark.parametrize("turned", [False, True])
def test_down_is_down_the_picture_whichever_corner_comes_first(turned: bool) -> None:
    left, right = np.array([10.0, 20.0]), np.array([50.0, 26.0])
    line = CornerLine.between(*((right, left) if turned else (left, right)))
    assert line.width_px == pytest.approx(np.hypot(40, 6))
    assert line.down[1] > 0.9
    s, t = line.local(np.array([[30.0, 23.0], [30.0, 40.0]]))
    assert s[0] == pytest.approx(0.5)
    assert (t[0], t[1] > 10) == (pytest.approx(0, abs=1e-12), True)


def test_places_are_the_inverse_of_local() -> None:
    line = CornerLine.between(np.array([10.0, 20.0]), np.array([50.0, 26.0]))
    places = np.random.default_rng(0).uniform(0, 60, (5, 7, 2))
    np.testing.assert_allclose(line.places(*line.local(places)), places)


def test_what_lies_at_a_knot_comes_from_its_knot_and_beyond_them_all_moves_along() -> None:
    to, come_from = (tuple(np.array([v]) for v in values) for values in ((0.0, 4.0, 6.0), (1.0, 3.0, 9.0)))
    got = [float(follow(np.array([t]), to, come_from)[0]) for t in (0.0, 2.0, 4.0, 5.0, 6.0, 8.0, -3.0)]
    assert got == pytest.approx([1.0, 2.0, 3.0, 6.0, 9.0, 11.0, -2.0])
