"""The parts about the mouth: what they count, on curves and phones that are known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.portrait_mouth.closures import counted, phone_curve
from benchmarks.portrait_mouth.hearing import at_pace
from benchmarks.portrait_mouth.hearing import table as hearing_table
from benchmarks.portrait_mouth.mandarin import SHAPES, displacement, mouth_curves, read_out
from benchmarks.portrait_mouth.mouths import in_a_row, kind_row, moments_of, tile, word_phones
from benchmarks.portrait_mouth.song import cut_off, held_notes, shut_after
from benchmarks.portrait_mouth.sound_kinds import KINDS, PACES
from benchmarks.portrait_mouth.visemes import FPS, Spoken, shares
from benchmarks.portrait_mouth.visemes import table as visemes_table
from openemo.audio.audio_reader import Audio
from openemo.audio.prosody import measure_prosody
from openemo.data.mouth_shapes import load_shapes
from openemo.data.speech_synthesis import Phone, Utterance
from openemo.data.visemes import VISEMES
from openemo.face import FaceAnalyzer
from openemo.video.images import read_image

SYMBOLS = "bafiomusʃəɹ"


def _phones(symbols: str, each_s: float = 0.12) -> tuple[Phone, ...]:
    return tuple(Phone(symbol, i * each_s, (i + 1) * each_s) for i, symbol in enumerate(symbols))


def _video(symbols: str, shape_of: dict[str, np.ndarray], gain: float) -> Spoken:
    phones = _phones(symbols)
    times_s = (np.arange(int(phones[-1].end_s * FPS)) + 0.5) / FPS
    index = np.minimum((times_s / 0.12).astype(int), len(symbols) - 1)
    rule = np.array([shape_of[symbols[i]] for i in index])
    full = dict.fromkeys(VISEMES, shape_of["b"])
    return Spoken(phones, gain * rule + 0.3, rule, 0.9 * rule, full)


def test_a_mouth_that_does_what_the_rule_says_has_its_own_shapes() -> None:
    """At any amplitude and rest; position alone and another sentence know less."""
    rng = np.random.default_rng(0)
    shape_of = {symbol: rng.normal(size=6) for symbol in SYMBOLS}
    shape_of["m"] = shape_of["b"]  # one kind
    sentences = ["".join(rng.permutation(list(SYMBOLS * 3))) for _ in range(4)]
    people = {"a": [_video(each, shape_of, 0.4) for each in sentences]}
    figures = shares(people)
    ours = figures["shares"]["ours, rule"]
    assert ours == {"kinds": 1.0, "kinds, rescaled": 1.0, "single sounds": 1.0}
    assert figures["shares"]["the rule, drawn, rule"]["kinds"] == 1.0
    assert figures["shares"]["another sentence, rule"]["single sounds"] < 0.3
    assert figures["shares"]["position alone, rule"]["single sounds"] < 0.5
    assert figures["sounds read as"]["a"]["a"] == 12
    assert figures["measures"]["width"]["spread_ratio"] == pytest.approx(0.4)
    text = visemes_table(figures)
    assert "| ours, rule | 1.00 | 1.00 | 1.00 |" in text
    assert "| m b p | 1 of 1 | 1.00 of 24 |" in text


def test_closures_that_phones_ask_for() -> None:
    """Shut at b; may be shut in the pause; open in the vowels."""
    phones = (*_phones("aba", 0.4), Phone("", 1.2, 2.0), Phone("a", 2.0, 2.4))
    wanted = phone_curve(Utterance(np.zeros(round(2.4 * 16000), np.float32), phones))
    ours = np.full(len(wanted), 0.06)
    ours[[15, 40, 55]] = 0.004  # at b, in the pause, in the last vowel
    found = counted([(ours, wanted), (np.full(len(wanted), 0.06), wanted)])
    assert (found["wanted"], found["shut"], found["found"], found["false"]) == (2, 1, 3, 1)


def test_a_faster_voice_has_a_faster_mouth() -> None:
    slow = np.sin(np.arange(100) / 9)[:, None]
    fast = at_pace(slow, 1.25)
    assert len(fast) == 80
    np.testing.assert_allclose(fast[40], np.interp(40.5 * 1.25 - 0.5, np.arange(100), slow[:, 0]))
    cell = {"r": 0.5, "position_r": 0.1, "other_sound_r": 0.2, "spread_ratio": 1.0, "clips": 2}
    row = {"opening": cell, "width": cell, "spread": {"opening": 0.8, "width": 0.4}}
    quiet = row | {"spread": {"opening": 0.4, "width": 0.3}}
    text = hearing_table({"as recorded": row, "room": quiet})
    assert "| room | 0.50 (0.10; 0.20) | 0.50 | 0.50 (0.10; 0.20) | 0.75 |" in text


def test_sounds_keep_their_timing_and_loudness() -> None:
    """A burst stays where it was within 20 ms; faster and slower ones are as long as they should be."""
    rng = np.random.default_rng(0)
    voice = (0.001 * rng.normal(size=24000)).astype(np.float32)
    voice[8000:12000] += (0.2 * rng.normal(size=4000)).astype(np.float32)
    for name, change in KINDS.items():
        sound = change(voice)
        if name in PACES:
            assert len(sound) == pytest.approx(len(voice) / PACES[name], abs=800)
            continue
        assert len(sound) == len(voice), name
        level = np.convolve(sound**2, np.ones(160) / 160, "same")
        assert np.argmax(level > 0.25 * np.percentile(level, 95)) == pytest.approx(8000, abs=480), name


def test_controls_move_her_mouth(shared_dir: Path) -> None:
    path = shared_dir / "data/expressions/ict_basis.npz"
    if not path.exists():
        pytest.skip("the face shapes are not in ../shared")
    shapes = load_shapes(path)
    with np.load(path) as arrays:
        neutral = arrays["neutral"].astype(np.float64)
    rest, jaw, pucker = (
        mouth_curves((neutral + displacement(name, shapes))[None])[0]
        for name in ("tooth_d_d", "mouth_stretch_c", "mouth_pucker_l")
    )
    assert jaw[0] > rest[0] + 0.1
    assert pucker[1] < rest[1] - 0.01
    assert all(np.abs(displacement(name, shapes)).max() > 0 for name in SHAPES)


def test_read_out_is_of_takes_that_the_fit_has_not_seen() -> None:
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=(300, 5)) for name in "xyz"}
    curves = {name: 0.02 * each[:, 0] for name, each in features.items()}
    takes = {name: (Audio(np.zeros((1, 1), np.float32), 16000), curves[name][:, None]) for name in "xyz"}
    found = read_out(features, curves, takes)
    assert found["mean"] > 0.99
    assert abs(found["another take's sound"]) < 0.2
    assert found["clips of 4 s"]["clips"] == 9
    assert found["clips of 4 s"]["sound"] > 0.99
    assert abs(found["clips of 4 s"]["position alone"]) < 0.3


def test_words_are_divided_by_their_phones(tmp_path: Path) -> None:
    align = tmp_path / "one.align"
    align.write_text("0 10000 sil\n10000 20000 blue\n20000 24000 at\n", encoding="utf-8")
    written = {"blue": "bl\u02c8u\u02d0", "at": "\u02c8æt"}
    phones = word_phones(align, lambda language, word: [[written[word]]])
    assert "".join(phone.symbol for phone in phones) == "bluæt"
    assert [phone.start_s for phone in phones] == pytest.approx([0.4, 0.5, 0.6, 0.8, 0.88])
    moments = moments_of([phones])
    assert moments["m b p"] == [(0, 11)]
    assert moments["u w"] == [(0, 17)]


def test_sheets_show_mouths(face_analyzer: FaceAnalyzer, portrait_path: Path) -> None:
    picture = read_image(portrait_path)
    mouth = tile(picture, face_analyzer.find(picture).points_px)
    assert mouth.std() > 10
    row = in_a_row({"real": [mouth], "stranger": [mouth] * 9}, _phones("ba"))
    assert row.shape[0] == 2 * mouth.shape[0]
    kinds = kind_row("a", [(0, 0)], {"real": [[mouth]], "stranger": [[mouth]]})
    assert kinds.shape[1] > 6 * mouth.shape[1]
    assert tile(picture, np.full((478, 3), np.nan)).max() == 0


def test_time_until_the_mouth_is_shut() -> None:
    opening = np.full(50, 0.05)
    opening[28:] = 0.0
    assert shut_after(opening, 25.0) == pytest.approx(0.14)
    opening[-1] = 0.05
    assert shut_after(opening, 25.0) == float("inf")
    tone = (0.3 * np.sin(np.arange(48000) / 16000 * 2 * np.pi * 220)).astype(np.float32)
    cut = cut_off(Audio(tone[None], 16000))
    assert 2.15 < cut.duration_s < 2.85
    assert not cut.samples[0, -15000:].any()
    sound = measure_prosody(Audio(tone[None], 16000)).at(75, Fraction(25))
    held = held_notes([np.r_[np.full(30, 0.04), np.full(45, 0.02)]], [sound])
    assert held["notes"] == 1
    assert held["share_held"] == pytest.approx(0.5)
