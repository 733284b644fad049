"""Emotions as the command line takes them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from openemo.behaviour import EMOTIONS, expression_track
from openemo.behaviour.emotion_names import read_emotions
from openemo.behaviour.expression import is_neutral
from openemo.errors import ConfigError


def test_one_name_is_kept() -> None:
    for name in (*EMOTIONS, "neutral"):
        assert read_emotions(name) == read_emotions(f" {name} ") == name


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("0:happy", [(0, "happy", 1)]),
        ("0:happy,2.5:sad:0.8", [(0, "happy", 1), (2.5, "sad", 0.8)]),
        (" 1 : smug : 0.5 , 3:neutral", [(1, "smug", 0.5), (3, "neutral", 1)]),
        ("0:happy:0", [(0, "happy", 0)]),
    ],
)
def test_changes_over_time(text: str, changes: list[tuple[float, str, float]]) -> None:
    assert read_emotions(text) == changes


@pytest.mark.parametrize("text", ["now:happy", "0:happy:strong", "0:happy,", "happy,2:sad", "1:sad:0.5:0.5"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="the emotion is not understood"):
        read_emotions(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("joyful", "the emotion is unknown"),
        ("0:joyful", "the emotion is unknown"),
        ("0:happy:1.5", "the strength of an emotion is out of range"),
        ("-1:happy", "the time of happy is out of range"),
        ("nan:happy", "the time of happy is out of range"),
    ],
)
def test_names_and_numbers_are_checked(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_emotions(text)


def test_text_and_list_give_one_track() -> None:
    read, given = (
        expression_track(emotions, 100, Fraction(25), strength=0.5)
        for emotions in (read_emotions("0:happy,2:sad:0.8"), [(0.0, "happy", 1.0), (2.0, "sad", 0.8)])
    )
    np.testing.assert_array_equal(read, given)
    assert read[40, EMOTIONS.index("happy")] == pytest.approx(0.5)
    assert read[90, EMOTIONS.index("sad")] == pytest.approx(0.4)


def test_neutral_is_no_emotion_in_either_form() -> None:
    assert is_neutral("neutral")
    assert is_neutral(read_emotions("0:neutral,1:neutral:0.2"))
    assert not is_neutral("happy")
    assert not is_neutral(read_emotions("0:neutral,1:sad"))
