"""Sentences without meaning: every kind of mouth, each about as often as the others, beside every other."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np

from openemo.data.nonsense_words import nonsense_sentence
from openemo.data.visemes import VISEMES, viseme_of

LETTERS = [letter for turn in range(300) for letter in nonsense_sentence(np.random.default_rng(turn))]


def test_each_kind_of_mouth_is_said_and_none_is_rare() -> None:
    kinds = Counter(viseme_of(letter) for letter in LETTERS if letter.isalpha() and letter != "ː")
    assert set(kinds) == set(VISEMES) - {"pause", "th", "soft b", "ih", "uh"}
    assert min(kinds[name] for name in ("i", "y", "u", "sh", "m b p", "f v")) > 0.06 * kinds.total()


def test_vowels_stand_beside_all_consonants() -> None:
    pairs = {(viseme_of(a), viseme_of(b)) for a, b in pairwise(LETTERS)}
    consonants = ("m b p", "f v", "sh", "s z", "t d n l", "r", "w")
    assert all((consonant, vowel) in pairs for consonant in consonants for vowel in "aeiouy")


def test_a_seed_is_a_sentence() -> None:
    first, again, other = (nonsense_sentence(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
