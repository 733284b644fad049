"""Visemes: lips that shut and open in time, sounds that run into each other, loud vowels that are wide."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.speech_synthesis import Phone
from openemo.data.visemes import CONTROLS, VISEMES, Articulation, articulate, loudness_gains, viseme_of

FRAME_S = 0.04
VOWELS = ("a", "e", "i", "ih", "o", "u", "y", "uh")
_TONGUE = dict.fromkeys(("th", "t d n l", "k g h", "uh", "soft b"), "tongue")
_KINDS = _TONGUE | {"j": "i", "ih": "e", "w": "u"}
LETTERS = {
    "m b p": "m", "f v": "f", "th": "θ", "t d n l": "t", "s z": "s", "sh": "ʃ", "k g h": "k", "r": "ɹ",
    "w": "w", "j": "j", "soft b": "β", "a": "a", "e": "e", "i": "i", "ih": "ɪ", "o": "o", "u": "u",
    "y": "y", "uh": "ə", "pause": "",
}  # fmt: skip


def _say(sounds: str, length_s: float = 0.1) -> list[Phone]:
    """Sounds of one length; a dot is a pause of half a second."""
    phones: list[Phone] = []
    for sound in sounds:
        start_s = phones[-1].end_s if phones else 0.0
        long_s = 0.5 if sound == "." else length_s
        phones.append(Phone("" if sound == "." else sound, start_s, start_s + long_s))
    return phones


def _middle(phone: Phone) -> float:
    return (phone.start_s + phone.end_s) / 2


def _at(phones: list[Phone], times_s: list[float] | NDArray[np.floating]) -> Articulation:
    return articulate(phones, np.ones(len(phones)), np.asarray(times_s))


def _control(phones: list[Phone], name: str, time_s: float) -> float:
    return float(_at(phones, [time_s]).controls_FK[0, CONTROLS.index(name)])


def test_every_viseme_has_a_letter_and_unknown_letters_do_not_stop_anything() -> None:
    assert {viseme_of(letter) for letter in LETTERS.values()} == set(VISEMES) == set(LETTERS)
    assert all(viseme_of(letter) == name for name, letter in LETTERS.items())
    assert viseme_of("§") == "k g h"


@pytest.mark.parametrize("sound", ["m", "b", "p"])
@pytest.mark.parametrize("length_s", [0.03, 0.08, 0.2])
def test_lips_are_shut_for_60_to_100_ms(sound: str, length_s: float) -> None:
    phones = _say(f"a{sound}a", length_s)
    times_s = np.arange(0, phones[-1].end_s, 0.001)
    shut = _at(phones, times_s).shut_F
    assert 0.058 <= 0.001 * (shut > 0.999).sum() <= 0.115
    # They come from and go back to an open mouth smoothly: in no 40 ms from open to shut.
    assert np.abs(shut[40:] - shut[:-40]).max() < 0.9


@pytest.mark.parametrize("phase_s", np.arange(0, FRAME_S, 0.005).tolist())
def test_each_closure_is_seen_at_25_frames_per_second(phase_s: float) -> None:
    phones = _say("ambapa", 0.04)
    times_s = np.arange(phase_s, phones[-1].end_s, FRAME_S)
    shut = _at(phones, times_s).shut_F
    for phone in (each for each in phones if each.symbol in "mbp"):
        near = np.abs(times_s - _middle(phone)) < 0.045
        assert shut[near].max() > 0.97


def test_the_mouth_is_open_widest_in_the_middle_of_its_vowel() -> None:
    """Within 10 ms: half of what the times of synthetic voices are right to."""
    phones = _say(".ta t.", 0.12)
    times_s = np.arange(0, phones[-1].end_s, 0.001)
    jaw = _at(phones, times_s).controls_FK[:, CONTROLS.index("jaw")]
    assert times_s[jaw.argmax()] == pytest.approx(_middle(phones[2]), abs=0.01)


def test_a_later_utterance_is_the_same_later() -> None:
    phones, lag_s = _say(".bado."), 0.27
    later = [Phone("", 0, phones[0].end_s + lag_s)]
    later += [Phone(p.symbol, p.start_s + lag_s, p.end_s + lag_s) for p in phones[1:]]
    # Before that the longer pause is felt, whose core is elsewhere.
    times_s = np.arange(0.7, phones[-1].end_s, FRAME_S)
    one, other = _at(phones, times_s), _at(later, times_s + lag_s)
    np.testing.assert_allclose(one.controls_FK, other.controls_FK, atol=0.004)
    np.testing.assert_allclose(one.shut_F, other.shut_F, atol=1e-9)


def test_nothing_jumps() -> None:
    phones = _say(".pamafubiwoʃaməθi.", 0.07)
    motion = _at(phones, np.arange(0, phones[-1].end_s, 0.005))
    assert np.abs(np.diff(motion.controls_FK, axis=0)).max() < 0.05
    for held in (motion.shut_F, motion.tucked_F):
        assert np.abs(np.diff(held)).max() < 0.1
        assert held.min() >= 0
        assert held.max() <= 1


def test_rounding_reaches_into_neighbours_and_starts_before_them() -> None:
    between_round, between_spread = _say("utu"), _say("iti")
    at_t = _middle(between_round[1])
    assert _control(between_round, "pucker", at_t) > 0.6
    assert _control(between_spread, "spread", at_t) > 0.4
    assert _control(between_spread, "pucker", at_t) < 0.01
    # In "stew" lips are rounded while the tongue is still at t.
    phones = _say("istu")
    assert _control(phones, "pucker", phones[2].start_s) > 0.15


def test_short_sounds_do_not_reach_their_targets() -> None:
    reached = [
        _control(phones, "jaw", _middle(phones[1])) for phones in (_say("sas", x) for x in (0.05, 0.3))
    ]
    assert reached[0] < 0.75 * reached[1]
    assert reached[1] > 0.9 * VISEMES["a"].target[0]


def test_in_a_pause_the_mouth_comes_to_rest_within_a_fifth_of_a_second() -> None:
    phones = _say("a..")
    motion = _at(phones, [phones[0].end_s + 0.2])
    assert motion.controls_FK.max() < 0.1 * VISEMES["a"].target[0]
    assert _at(phones, [phones[0].end_s + 0.4]).controls_FK.max() < 0.01


def test_the_mean_shape_of_each_kind_of_sound_is_nearest_to_its_own_target() -> None:
    """In random speech. Sounds that look alike are one kind: the tongue's, i and j, u and w."""
    rng = np.random.default_rng(3)
    consonants = [name for name in LETTERS if name not in (*VOWELS, "pause")]
    places: dict[str, list[NDArray[np.float64]]] = {}
    for _ in range(60):
        pairs = zip(rng.choice(consonants, 6), rng.choice(VOWELS, 6), strict=True)
        said = [str(name) for pair in pairs for name in pair]
        phones = _say("".join(LETTERS[name] for name in said), float(rng.uniform(0.07, 0.13)))
        motion = _at(phones, [_middle(phone) for phone in phones])
        shapes = np.column_stack([motion.controls_FK, motion.shut_F, motion.tucked_F])
        for name, shape in zip(said, shapes, strict=True):
            places.setdefault(_KINDS.get(name, name), []).append(shape)
    kinds = list(places)
    means = np.array([np.mean(places[kind], 0) for kind in kinds])
    targets = np.array([_target(kind) for kind in kinds])
    nearest = np.linalg.norm(means[:, None] - targets, axis=-1).argmin(1)
    wrong = [f"{kinds[i]} as {kinds[k]}" for i, k in enumerate(nearest) if i != k]
    assert len(wrong) <= 0.2 * len(kinds), wrong


def _target(kind: str) -> NDArray[np.float64]:
    visemes = [VISEMES[name] for name in VISEMES if _KINDS.get(name, name) == kind]
    shapes = [[*viseme.target, viseme.shut, viseme.tucked] for viseme in visemes]
    return np.asarray(np.mean(shapes, 0), np.float64)


def test_a_loud_vowel_is_wider_open_and_a_quiet_one_less() -> None:
    phones = _say("apapa", 0.2)
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    for index, factor in enumerate((0.02, 0, 0.1, 0, 0.5)):
        samples[3200 * index : 3200 * (index + 1)] *= factor
    gains = loudness_gains(phones, samples)
    assert gains[1] == gains[3] == gains[2] == 1
    assert gains[0] < 0.75 < 1.2 < gains[4]
    motion = articulate(phones, gains, np.array([_middle(phone) for phone in phones]))
    quiet, usual, loud = motion.controls_FK[::2, CONTROLS.index("jaw")]
    assert quiet < 0.8 * usual < 0.9 * loud
