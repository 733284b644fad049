"""What the network is told of a behaviour: its own channels, in units that are about 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openemo.behaviour import EMOTIONS, HEAD_AXES, Behaviour
from openemo.behaviour.motion_conditions import MOTION_CONDITION_UNITS, MOTION_CONDITIONS, motion_conditions

FRAMES = 5


@pytest.fixture
def behaviour() -> Behaviour:
    rng = np.random.default_rng(4)
    neutral = Behaviour.neutral(FRAMES)
    return replace(
        neutral,
        head_F6=rng.normal(size=(FRAMES, 6)),
        torso_F2=rng.normal(size=(FRAMES, 2)),
        brows_F=rng.normal(size=FRAMES),
        gaze_F2=rng.normal(size=(FRAMES, 2)),
        eyes_closed_F2=rng.random((FRAMES, 2)),
        expression_FE=rng.random((FRAMES, len(EMOTIONS))),
    )


def test_the_portrait_as_it_is_is_zero() -> None:
    values = motion_conditions(Behaviour.neutral(FRAMES))
    assert values.shape == (FRAMES, len(MOTION_CONDITIONS))
    assert values.dtype == np.float32
    assert not values.any()


def test_each_column_is_the_track_of_its_name_in_its_unit(behaviour: Behaviour) -> None:
    tracks = {name: behaviour.head_F6[:, axis] for axis, name in enumerate(HEAD_AXES)}
    assert set(tracks) == set(MOTION_CONDITIONS)
    values = dict(zip(MOTION_CONDITIONS, motion_conditions(behaviour).T, strict=True))
    for name, unit in zip(MOTION_CONDITIONS, MOTION_CONDITION_UNITS, strict=True):
        np.testing.assert_allclose(values[name], tracks[name] / unit, rtol=1e-5)


def test_brows_emotions_and_what_is_drawn_by_rule_are_not_told(behaviour: Behaviour) -> None:
    still = Behaviour.neutral(FRAMES)
    without = replace(still, head_F6=behaviour.head_F6)
    np.testing.assert_array_equal(motion_conditions(without), motion_conditions(behaviour))
