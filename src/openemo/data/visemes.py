"""From phones to the motion of a mouth: visemes that run into each other (Cohen and Massaro 1993).

Each phone wants a shape, and dominates for a while before and after it; the mouth does the mean of what all
want, by dominance. So a vowel between two others never gets to its target, and rounding starts early. Two
things do not give way, and have times of their own: lips that shut, and a lower lip under the upper teeth.

Shape letters: P phones, F frames, T steps of 5 ms, K controls, in the order of `CONTROLS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from openemo.arrays import Doubles, Samples
from openemo.data.speech_synthesis import Phone
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ

__all__ = [
    "CONTROLS",
    "PAUSE",
    "VISEMES",
    "Articulation",
    "Viseme",
    "articulate",
    "loudness_gains",
    "raised_tongue",
    "viseme_of",
]

CONTROLS: Final = ("jaw", "funnel", "pucker", "spread", "lower", "upper")
"""Jaw down, lips forward and open, lips forward and narrow, corners apart, each lip off its teeth."""

_STEP_S: Final = 0.005
_SMOOTHING_S: Final = 0.015  # lips have mass: no corners in their way
# How fast dominance falls off beside a phone, and the part of the phone in which it is whole. Lips begin
# earlier than the jaw.
_FALL_OFF_S: Final = np.array([0.055, 0.075, 0.075, 0.075, 0.055, 0.055])
_WHOLE: Final = 0.4
_HOLDS_S: Final = {  # shortest and longest
    "m b p": (0.06, 0.1),
    "f v": (0.05, 0.09),
    "th": (0.06, 0.12),
    "t d n l": (0.05, 0.12),
}
_HOLD: Final = {"p": 0.7, "b": 0.75}  # share of the phone before the lips burst apart
_CLOSING_S, _OPENING_S = 0.085, 0.085
_GAIN_PER_DB, _GAINS = 0.045, (0.65, 1.25)


class Viseme(NamedTuple):
    """A shape of the mouth.

    Attributes:
        target: (K,) weights, see `CONTROLS`.
        jaw, lips: dominance over neighbours.
        shut: the lips meet. tucked: the lower lip is under the upper teeth.
    """

    target: tuple[float, ...]
    jaw: float = 1.0
    lips: float = 1.0
    shut: bool = False
    tucked: bool = False


VISEMES: Final[dict[str, Viseme]] = {
    #                jaw  funnel pucker spread lower upper
    "pause": Viseme((0.00, 0.00, 0.00, 0.00, 0.00, 0.00), 1.2, 1.0),
    "m b p": Viseme((0.06, 0.00, 0.00, 0.00, 0.00, 0.00), 0.7, 0.15, shut=True),
    "f v": Viseme((0.07, 0.00, 0.00, 0.05, 0.00, 0.15), 0.8, 0.4, tucked=True),
    "th": Viseme((0.14, 0.00, 0.00, 0.05, 0.25, 0.10), 0.8, 0.3),
    "t d n l": Viseme((0.14, 0.00, 0.00, 0.10, 0.20, 0.10), 0.7, 0.2),
    "s z": Viseme((0.05, 0.00, 0.00, 0.32, 0.40, 0.20), 1.2, 0.5),
    "sh": Viseme((0.06, 0.40, 0.30, 0.00, 0.15, 0.15), 1.2, 1.2),
    "k g h": Viseme((0.17, 0.00, 0.00, 0.05, 0.15, 0.10), 0.4, 0.15),
    "r": Viseme((0.10, 0.30, 0.15, 0.00, 0.05, 0.00), 0.7, 0.6),
    "w": Viseme((0.03, 0.10, 0.95, 0.00, 0.00, 0.00), 1.2, 1.8),
    "j": Viseme((0.10, 0.00, 0.00, 0.45, 0.25, 0.15), 0.7, 0.6),
    "soft b": Viseme((0.05, 0.00, 0.00, 0.00, 0.00, 0.00), 1.5, 0.3),
    "a": Viseme((0.50, 0.00, 0.00, 0.10, 0.20, 0.15), 1.2, 0.7),
    "e": Viseme((0.28, 0.00, 0.00, 0.36, 0.35, 0.25), 1.1, 0.9),
    "i": Viseme((0.12, 0.00, 0.00, 0.62, 0.35, 0.25), 1.1, 1.1),
    "ih": Viseme((0.17, 0.00, 0.00, 0.28, 0.30, 0.20), 0.9, 0.7),
    "o": Viseme((0.29, 0.35, 0.55, 0.00, 0.00, 0.00), 1.1, 1.3),
    "u": Viseme((0.08, 0.20, 0.90, 0.00, 0.00, 0.00), 1.1, 1.4),
    "y": Viseme((0.10, 0.35, 0.70, 0.00, 0.05, 0.00), 1.0, 1.3),
    "uh": Viseme((0.24, 0.00, 0.00, 0.05, 0.15, 0.10), 0.7, 0.3),
}
"""By what is said."""

PAUSE: Final = VISEMES["pause"]
_LETTERS: Final = {
    "": "pause", "pbm": "m b p", "fvʋ": "f v", "θð": "th", "tdnlrɾɽʈɖɳɭ": "t d n l", "sz": "s z",
    "ʃʒɕʂʐʑ": "sh", "kgɡŋxɣhɦqχʔcɟɲʎçʝʁɴɰ": "k g h", "ɹɻɺ": "r", "wɥ": "w", "j": "j", "βɸ": "soft b",
    "aɑæʌɒ": "a", "eɛ": "e", "iɨ": "i", "ɪᵻ": "ih", "oɔ": "o", "uʊɯ": "u", "yʏøœ": "y", "əɐɜɤᵊ": "uh",
}  # fmt: skip
_CLASSES: Final = {letter: name for letters, name in _LETTERS.items() for letter in letters or [""]}
_VOWELS: Final = frozenset("aeiouy") | {"ih", "uh"}


@dataclass(frozen=True, slots=True, eq=False)
class Articulation:
    """What a mouth does, one value for each frame.

    Attributes:
        controls_FK: weights of the shapes, see `CONTROLS`.
        shut_F: 1 where the lips are pressed together. tucked_F: 1 where the lower lip is under the teeth.
    """

    controls_FK: Doubles
    shut_F: Doubles
    tucked_F: Doubles


def viseme_of(symbol: str) -> str:
    """Name in `VISEMES` of a letter of the IPA; the back of the tongue for those that are not known."""
    return _CLASSES.get(symbol, "k g h")


def articulate(phones: Sequence[Phone], gains_P: Doubles, times_s: Doubles) -> Articulation:
    """The mouth at some times of an utterance.

    Args:
        gains_P: of the opening in each phone, see `loudness_gains`.
        times_s: (F,), such as the middles of frames.
    """
    steps_s: Doubles = np.arange(int(np.ceil(phones[-1].end_s / _STEP_S)) + 1, dtype=np.float64) * _STEP_S
    controls_TK = gaussian_filter1d(
        _mean_by_dominance(phones, gains_P, steps_s), _SMOOTHING_S / _STEP_S, 0, mode="nearest"
    )
    controls_FK = np.stack([np.interp(times_s, steps_s, each_T) for each_T in controls_TK.T], 1)
    return Articulation(controls_FK, _held(phones, "m b p", times_s), _held(phones, "f v", times_s))


def raised_tongue(phones: Sequence[Phone], times_s: Doubles) -> Doubles:
    """(F,) 1 while the tip of the tongue is at the upper teeth or behind them, with smooth ways there."""
    return np.maximum(_held(phones, "th", times_s), _held(phones, "t d n l", times_s))


def loudness_gains(phones: Sequence[Phone], samples: Samples) -> Doubles:
    """(P,) how far the mouth opens in each vowel, beside a vowel of the usual loudness; 1 for other phones.

    Args:
        samples: (N,) at 16 kHz.
    """
    names = [viseme_of(phone.symbol) for phone in phones]
    levels_db = np.array([_level_db(phone, samples) for phone in phones])
    is_vowel = np.array([name in _VOWELS for name in names])
    usual_db = float(np.median(levels_db[is_vowel])) if is_vowel.any() else 0.0
    return np.where(is_vowel, np.clip(1 + _GAIN_PER_DB * (levels_db - usual_db), *_GAINS), 1.0)


def _level_db(phone: Phone, samples: Samples) -> float:
    part = samples[round(phone.start_s * SAMPLE_RATE_HZ) : round(phone.end_s * SAMPLE_RATE_HZ)]
    return 10 * float(np.log10(np.square(part, dtype=np.float64).mean() + 1e-9)) if len(part) else -90.0


def _mean_by_dominance(phones: Sequence[Phone], gains_P: Doubles, times_T: Doubles) -> Doubles:
    """(T, K): eq. 2 and 3 of Cohen and Massaro, with a distance from a phone's core, not from its middle."""
    visemes = [VISEMES[viseme_of(phone.symbol)] for phone in phones]
    target_PK = np.array([viseme.target for viseme in visemes])
    is_opening_K = np.array([name in ("jaw", "lower", "upper") for name in CONTROLS])
    # A loud vowel is also more rounded or more spread, but less so.
    target_PK *= gains_P[:, None] ** np.where(is_opening_K, 1.0, 0.5)
    strength_PK = np.array([[v.jaw, *[v.lips] * 3, *[v.jaw] * 2] for v in visemes])
    middle_P = np.array([(phone.start_s + phone.end_s) / 2 for phone in phones])
    core_P = np.array([_WHOLE * (phone.end_s - phone.start_s) / 2 for phone in phones])
    away_TP = np.maximum(np.abs(times_T[:, None] - middle_P) - core_P, 0)
    dominance_TPK = strength_PK * np.exp(-away_TP[..., None] / _FALL_OFF_S)
    return np.asarray((dominance_TPK * target_PK).sum(1) / dominance_TPK.sum(1))


def _held(phones: Sequence[Phone], name: str, times_s: Doubles) -> Doubles:
    """(F,) 1 while lips or tongue hold one viseme, with smooth ways there and back."""
    shortest, longest = _HOLDS_S[name]
    result = np.zeros(len(times_s))
    for phone in phones:
        if viseme_of(phone.symbol) != name:
            continue
        whole = (phone.end_s - phone.start_s) * _HOLD.get(phone.symbol, 1.0)
        half = float(np.clip(whole, shortest, longest)) / 2
        after = times_s - (phone.start_s + whole / 2)
        way = np.where(after < 0, (-after - half) / _CLOSING_S, (after - half) / _OPENING_S)
        result = np.maximum(result, (1 + np.cos(np.pi * np.clip(way, 0, 1))) / 2)
    return result
