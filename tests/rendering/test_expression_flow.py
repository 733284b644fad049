"""The expression guide: what brows and emotions add to it, and that it is what a frame's flow would be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from openemo.behaviour import EMOTIONS, Behaviour
from openemo.behaviour.expression_shapes import expression_displacement
from openemo.rendering.expression_flow import expression_flows, expression_weights
from openemo.rendering.landmark_flow import face_flow

FRAMES, GRID = 3, 32


def test_a_neutral_face_has_no_expression() -> None:
    weights = expression_weights(Behaviour.neutral(FRAMES))
    assert weights.shape == (FRAMES, 1 + len(EMOTIONS))
    assert not weights.any()


def test_the_weighted_flows_are_the_flow_of_the_face_that_is_asked_for(toy_face: NDArray[np.float64]) -> None:
    flows = expression_flows(toy_face, GRID)
    assert flows.shape == (1 + len(EMOTIONS), 2, GRID, GRID)
    strengths = np.zeros(len(EMOTIONS))
    strengths[EMOTIONS.index("surprised")] = 0.5
    asked = replace(Behaviour.neutral(1), expression_FE=strengths[None])
    made = np.tensordot(expression_weights(asked)[0], flows, 1)
    true = face_flow(toy_face, toy_face[:, :2] + expression_displacement(strengths, toy_face), GRID)
    np.testing.assert_allclose(made, true, atol=1e-6)


def test_a_gain_is_one_of_emotions_alone() -> None:
    rng = np.random.default_rng(4)
    behaviour = replace(
        Behaviour.neutral(FRAMES),
        brows_F=rng.normal(size=FRAMES),
        expression_FE=rng.random((FRAMES, len(EMOTIONS))),
    )
    plain, strong = expression_weights(behaviour), expression_weights(behaviour, gain=1.5)
    np.testing.assert_array_equal(strong[:, 0], plain[:, 0])
    np.testing.assert_allclose(strong[:, 1:], 1.5 * plain[:, 1:], rtol=1e-6)
