"""Sung clips: long vowels on notes, with known times; music at a given level."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.data_recipe import DataRecipe
from openemo.data.prepare import prepare
from openemo.data.singing import STEP_S, accompany, sing
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ
from openemo.errors import ConfigError

Sound = NDArray[np.float32]
SEEDS = range(4)
VOWELS_S = ((0.3, 0.55), (0.8, 1.1), (1.35, 1.6))


def _words() -> Sound:
    """Three vowels, each a glide of 9 semitones, with a hiss before it."""
    rng, count = np.random.default_rng(0), 2 * SAMPLE_RATE_HZ
    times_s = np.arange(count) / SAMPLE_RATE_HZ
    sound = 0.0005 * rng.standard_normal(count)
    for start_s, end_s in VOWELS_S:
        inside = (times_s >= start_s) & (times_s < end_s)
        along = (times_s[inside] - start_s) / (end_s - start_s)
        phase = 2 * np.pi * np.cumsum(120 * 2 ** (9 * along / 12)) / SAMPLE_RATE_HZ
        sound[inside] += (
            0.1 * np.sin(np.pi * along) ** 0.25 * np.sum([np.sin(k * phase) / k for k in range(1, 20)], 0)
        )
        hiss = (times_s >= start_s - 0.08) & (times_s < start_s)
        sound[hiss] += 0.05 * rng.standard_normal(int(hiss.sum()))
    return sound.astype(np.float32)


def _level(sound: Sound, at_s: NDArray[np.floating]) -> NDArray[np.float64]:
    """Decibels within 20 ms around each moment."""
    power = np.convolve(sound.astype(np.float64) ** 2, np.ones(SAMPLE_RATE_HZ // 50), "same")
    places = np.clip((at_s * SAMPLE_RATE_HZ).astype(int), 0, len(sound) - 1)
    return np.asarray(10 * np.log10(power[places] + 1e-9))


def _pitch_hz(sound: Sound) -> float:
    """By the highest peak of the autocorrelation, 60 to 1,000 Hz."""
    spectrum = np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2
    correlation = np.fft.irfft(spectrum)[: len(sound)]
    lags = np.arange(SAMPLE_RATE_HZ // 1000, SAMPLE_RATE_HZ // 60)
    return float(SAMPLE_RATE_HZ / lags[np.argmax(correlation[lags])])


@pytest.mark.parametrize("seed", SEEDS)
def test_each_moment_of_a_song_is_as_loud_as_its_source(seed: int) -> None:
    words = _words()
    song, source_s = sing(words, np.random.default_rng(seed))
    assert song.dtype == np.float32
    assert len(source_s) * STEP_S == pytest.approx(len(song) / SAMPLE_RATE_HZ, abs=2 * STEP_S)
    assert (np.diff(source_s) >= 0).all()
    assert 0 <= source_s[0] < source_s[-1] < len(words) / SAMPLE_RATE_HZ
    made, spoken = _level(song, STEP_S * np.arange(len(source_s))), _level(words, source_s)
    moved = np.corrcoef(made, spoken)[0, 1]
    # As if the whole clip were stretched evenly.
    evenly = _level(words, np.linspace(0, len(words) / SAMPLE_RATE_HZ, len(source_s)))
    assert moved > 0.95
    assert np.corrcoef(made, evenly)[0, 1] < moved - 0.04


@pytest.mark.parametrize("seed", SEEDS)
def test_only_vowels_become_longer(seed: int) -> None:
    _, source_s = sing(_words(), np.random.default_rng(seed))
    middles_s = np.array([(start + end) / 2 for start, end in VOWELS_S])
    pace = np.diff(source_s) / STEP_S
    away = np.abs(source_s[:-1, None] - middles_s).min(1) > 0.2
    assert pace[away] == pytest.approx(1.0)
    assert pace.max() == pytest.approx(1.0)
    assert pace[~away].min() < 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_a_vowel_is_sung_on_one_note(seed: int) -> None:
    song, source_s = sing(_words(), np.random.default_rng(seed))
    for start_s, end_s in VOWELS_S:
        within = np.flatnonzero((source_s > start_s + 0.06) & (source_s < end_s - 0.06))
        width = SAMPLE_RATE_HZ // 20
        starts = np.linspace(within[0] * STEP_S, within[-1] * STEP_S, 4)[:-1] * SAMPLE_RATE_HZ
        pitch = [_pitch_hz(song[int(start) : int(start) + width]) for start in starts]
        assert 100 < min(pitch) <= max(pitch) < 700
        # Vibrato, and lags of whole samples. Spoken, the same part spans five semitones.
        assert 12 * np.log2(max(pitch) / min(pitch)) < 1.5


def test_a_song_of_the_same_random_state_is_the_same_and_of_another_is_not() -> None:
    first, again, other = (sing(_words(), np.random.default_rng(seed))[0] for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_without_the_vocoder_data_preparation_says_so_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    folder = tmp_path / "none"
    recipe = DataRecipe(
        clips=folder,
        portraits=[folder],
        face_weights=folder,
        speech_weights=folder,
        output=tmp_path / "data",
        sung_variants=1,
    )
    with pytest.raises(ConfigError, match=r"openemo\[data\]"):
        prepare(recipe)
    assert not list(tmp_path.iterdir())


def test_where_nobody_speaks_nobody_sings() -> None:
    song, source_s = sing(np.zeros(SAMPLE_RATE_HZ, np.float32), np.random.default_rng(0))
    assert not song.any()
    assert np.diff(source_s) == pytest.approx(STEP_S)


@pytest.mark.parametrize("below_db", [0.0, 12.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_music_is_so_far_below_the_voice(seed: int, below_db: float) -> None:
    words = _words()
    mixed = accompany(words, np.random.default_rng(seed), below_db=below_db)
    assert mixed.shape == words.shape
    music = mixed.astype(np.float64) - words
    assert 10 * np.log10((words**2).mean() / (music**2).mean()) == pytest.approx(below_db, abs=0.01)
    # All along, also where the voice pauses.
    assert _level(music.astype(np.float32), np.arange(0.2, 1.9, 0.3)).min() > -60


def test_without_a_voice_there_is_no_music() -> None:
    assert not accompany(np.zeros(SAMPLE_RATE_HZ, np.float32), np.random.default_rng(0), below_db=0).any()
