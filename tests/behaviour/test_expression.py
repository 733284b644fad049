"""Emotions over time: soft changes, strengths, errors that name what is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from openemo.audio import Prosody
from openemo.behaviour import EMOTIONS, draw_behaviour, expression_track
from openemo.errors import ConfigError

FPS = Fraction(25)


def test_one_emotion_comes_softly_and_stays() -> None:
    track = expression_track("sad", 100, FPS, strength=0.7)
    own = track[:, EMOTIONS.index("sad")]
    assert own[0] == 0
    assert (np.diff(own) >= 0).all()
    assert np.diff(own).max() < 0.15
    assert own[15:] == pytest.approx(0.7)
    assert not np.delete(track, EMOTIONS.index("sad"), axis=1).any()


def test_emotions_follow_each_other_at_their_times() -> None:
    changes = [(2.0, "surprised", 1.0), (0.0, "happy", 0.5), (3.0, "neutral", 1.0)]
    track = expression_track(changes, 125, FPS, strength=0.8)
    happy, surprised = (track[:, EMOTIONS.index(name)] for name in ("happy", "surprised"))
    assert happy[45] == pytest.approx(0.4)
    assert surprised[49] == 0 < surprised[55]
    assert happy[70] == pytest.approx(0)
    assert surprised[70] == pytest.approx(0.8)
    assert track[-1] == pytest.approx(0)


def test_neutral_is_no_expression() -> None:
    assert not expression_track("neutral", 50, FPS).any()
    assert not expression_track("angry", 50, FPS, strength=0).any()


@pytest.mark.parametrize(
    ("emotions", "strength", "message"),
    [
        ("joy", 1.0, r"unknown; got 'joy'; expected one of happy, .*smug, neutral"),
        ("happy", 1.2, "strength of an emotion is out of range"),
        ([(1.0, "happy", -0.5)], 1.0, "strength of an emotion is out of range"),
        ([(-1.0, "happy", 0.5)], 1.0, "time of happy is out of range"),
        (None, 1.0, "the emotion is not understood"),
        ([(0, "happy")], 1.0, "the emotion is not understood"),
        (["happy", "sad"], 1.0, "the emotion is not understood"),
        ([("0", "happy", 1)], 1.0, "time of an emotion is not a number; got '0'"),
        ("happy", "0.5", "strength of an emotion is not a number"),
    ],
)
def test_what_is_wrong_is_said(emotions: Any, strength: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expression_track(emotions, 10, FPS, strength=strength)


def test_an_excited_voice_smiles_slightly(prosody_of: Any) -> None:
    def most(arousal: float) -> float:
        prosody: Prosody = replace(prosody_of(1), arousal=arousal)
        track = draw_behaviour(prosody, 200, FPS, seed=0, person=0).expression_FE
        assert not np.delete(track, EMOTIONS.index("happy"), axis=1).any()
        return float(track.max())

    assert most(0.0) == 0 < most(0.3) < most(0.7) <= 0.2
