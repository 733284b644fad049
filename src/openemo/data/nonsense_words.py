"""Sentences without meaning, in the IPA: each kind of mouth as often as the others, next to every other.

Real languages hardly ever say some of them (the y of "lune" is one sound in forty of French, and in no other
of the languages at hand), so a network takes them for their neighbours.
"""

from __future__ import annotations

from typing import Final

import numpy as np

__all__ = ["nonsense_sentence"]

# Share of each kind of mouth, and its sounds.
_VOWELS: Final = ((0.17, "i"), (0.2, "yyø"), (0.19, "u"), (0.14, "oɔ"), (0.14, "eɛ"), (0.16, "a"))
_CONSONANTS: Final = (
    (0.17, "mbp"), (0.15, "fv"), (0.17, "ʃʒ"), (0.12, "sz"), (0.09, "ɹ"), (0.07, "w"), (0.07, "j"),
    (0.16, "tdnlkɡ"),
)  # fmt: skip
_WORDS, _SYLLABLES = (4, 7), (0.3, 0.5, 0.2)  # fewest and most; shares of one, two and three
_ONSET, _CODA, _LONG, _COMMA = 0.9, 0.25, 0.3, 0.12
_CODAS: Final = "mnlsʃfpt"


def nonsense_sentence(rng: np.random.Generator) -> str:
    """A sentence of four to seven words, each with its first syllable stressed."""
    words = [_word(rng) for _ in range(rng.integers(_WORDS[0], _WORDS[1] + 1))]
    pauses = ["," if rng.random() < _COMMA else "" for _ in words[:-1]]
    return " ".join(f"{word}{pause}" for word, pause in zip(words, [*pauses, "."], strict=True))


def _word(rng: np.random.Generator) -> str:
    syllables = 1 + int(rng.choice(len(_SYLLABLES), p=_SYLLABLES))
    return "ˈ" + "".join(_syllable(rng, is_last=index == syllables - 1) for index in range(syllables))


def _syllable(rng: np.random.Generator, *, is_last: bool) -> str:
    onset = _drawn(_CONSONANTS, rng) if rng.random() < _ONSET else ""
    length = "ː" if rng.random() < _LONG else ""
    coda = str(rng.choice(list(_CODAS))) if is_last and rng.random() < _CODA else ""
    return onset + _drawn(_VOWELS, rng) + length + coda


def _drawn(kinds: tuple[tuple[float, str], ...], rng: np.random.Generator) -> str:
    """A sound of a kind that is drawn by its share."""
    shares = np.array([share for share, _ in kinds])
    return str(rng.choice(list(kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))][1])))
