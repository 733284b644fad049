"""Which target the mean shape of each kind of sound is nearest to."""

from __future__ import annotations

import numpy as np
import pytest

from openemo.evaluation.metrics.viseme_shapes import (
    MEASURES,
    mean_shapes,
    mouth_measures,
    nearest_targets,
    rescaled,
    standardised,
)
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import face_width_px
from tests.evaluation.turned_landmarks import turned


def test_kinds_that_are_taken_for_their_own_target() -> None:
    targets = {"a": np.array([2.0, 0.0]), "o": np.array([1.0, -2.0]), "m": np.array([-2.0, 0.0])}
    shapes = {"a": np.array([1.5, 0.1]), "m": np.array([0.9, -1.5]), "z": np.zeros(2)}
    found = nearest_targets(shapes, targets)
    assert found.kinds == ("a", "m")
    assert found.nearest == ("a", "o")  # of all targets, also where no such sound was heard
    assert found.own_share == 0.5
    assert nearest_targets(shapes | {"o": np.array([1.0, -1.5])}, targets).own_share == pytest.approx(2 / 3)
    assert np.isnan(nearest_targets({}, targets).own_share)


def test_a_mouth_that_does_the_same_but_less() -> None:
    targets = {"a": np.array([2.0, 0.0]), "o": np.array([1.0, -2.0]), "m": np.array([-2.0, 0.0])}
    little = {kind: 0.1 * target + 3 for kind, target in targets.items()}
    assert nearest_targets(little, targets).own_share < 1
    for kind, shape in rescaled(little, targets).items():
        np.testing.assert_allclose(shape, targets[kind], atol=1e-9)
    assert rescaled({}, targets) == {}


def test_means_leave_out_what_was_not_seen() -> None:
    shapes = np.array([[1.0, 2.0], [3.0, 4.0], [np.nan, 0.0], [np.nan, np.nan]])
    found = mean_shapes(shapes, ["a", "a", "a", "m"])
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], [2.0, 3.0])


def test_a_person_and_its_amplitude_are_taken_out() -> None:
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(50, 3))
    np.testing.assert_allclose(standardised(3 * frames + 7, 3 * frames + 7), standardised(frames, frames))
    assert np.isfinite(standardised(np.ones((4, 2)), np.ones((4, 2)))).all()


def test_measures_do_not_see_the_head(portrait: Observation) -> None:
    points = portrait.points_px[0]
    angles = np.array([[0, 0, 0], [4, -3, 5], [-5, 4, 0]], np.float64)
    measures = mouth_measures(turned(np.repeat(points[None], 3, axis=0), angles))
    assert measures.shape == (3, len(MEASURES))
    np.testing.assert_allclose(measures, np.broadcast_to(measures[:1], measures.shape), atol=0.002)
    wider = points.copy()
    wider[291, 0] += 0.1 * face_width_px(points)
    wider[[0, 17], 2] -= 0.05 * face_width_px(points)
    before, after = mouth_measures(np.stack([points, wider]))
    change = dict(zip(MEASURES, after - before, strict=True))
    assert change["width"] == pytest.approx(0.1, abs=0.02)
    assert change["protrusion"] == pytest.approx(0.05, abs=0.01)
    assert change["opening"] == pytest.approx(0, abs=1e-6)
