"""A voice that is heard as it comes is measured as the whole voice is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openemo.arrays import Samples
from openemo.audio.audio_reader import read_audio
from openemo.audio.live_voice import LiveVoice
from openemo.audio.loudness import gated_level_dbfs
from openemo.audio.prosody import measure_prosody

RATE_HZ, PIECE = 16_000, 2560


@pytest.fixture(scope="module")
def voice(voice_path: Path) -> Samples:
    samples: Samples = read_audio(voice_path).mono().resample(RATE_HZ).samples[0]
    return samples


def test_loudness_pitch_and_accents_are_those_of_the_whole_voice(voice: Samples, voice_path: Path) -> None:
    live, loudness, pitch, speech, accents = LiveVoice(), [], [], [], []
    for start in range(0, len(voice) - PIECE, PIECE):
        live.push(voice[start : start + PIECE])
        heard = live.hear((start + PIECE * np.arange(4) / 4) / RATE_HZ - 0.1)
        loudness.append(heard.loudness_db_F)
        pitch.append(heard.pitch_semitones_F * heard.is_speech_F)
        speech.append(heard.is_speech_F)
        accents += [accent_s for accent_s, _, _ in heard.accents]
    whole = measure_prosody(read_audio(voice_path))
    times_s = np.arange(len(np.concatenate(loudness))) * 0.04 - 0.1
    steps = np.clip((times_s * float(whole.rate_hz)).round().astype(int), 0, len(whole) - 1)
    after = times_s > 2  # by then the level and the median of the pitch are known
    expected = whole.loudness_db_F[steps]
    assert np.corrcoef(np.concatenate(loudness)[after], expected[after])[0, 1] > 0.9
    assert (np.concatenate(speech) == whole.is_speech_F[steps])[after].mean() > 0.85
    found = np.array([np.abs(whole.accents_s - accent_s).min() for accent_s in accents])
    assert 0.5 * len(whole.accents_s) < len(accents) < 1.6 * len(whole.accents_s)
    assert np.median(found) < 0.05


@pytest.mark.parametrize("level", [0.05, 0.3, 1.0])
def test_the_level_of_the_voice_is_found(voice: Samples, level: float) -> None:
    sound = np.tile(voice * np.float32(level), 3)
    live = LiveVoice()
    assert live.gain == 1  # nobody has spoken
    for start in range(0, len(sound) - PIECE, PIECE):
        live.push(sound[start : start + PIECE])
    expected = gated_level_dbfs(sound, RATE_HZ)
    assert expected is not None
    assert live.level_dbfs == pytest.approx(expected, abs=4)


def test_noise_before_the_first_word_is_not_taken_for_a_voice() -> None:
    noise = 0.003 * np.random.default_rng(3).standard_normal(8 * RATE_HZ).astype(np.float32)
    live = LiveVoice()
    for start in range(0, len(noise), PIECE):
        live.push(noise[start : start + PIECE])
        heard = live.hear(np.array([(start + PIECE) / RATE_HZ]))
        assert not heard.is_talking
        assert not heard.accents
    assert live.gain == pytest.approx(1, abs=0.2)


def test_a_voice_is_heard_within_the_look_ahead(voice: Samples) -> None:
    """The mouth opens in time only if speech is known 0.1 s after it has begun."""
    silence = np.zeros(2 * RATE_HZ, np.float32)
    first = int(np.flatnonzero(np.abs(voice) > 0.1)[0])
    sound = np.concatenate([silence, voice[first : first + RATE_HZ]])
    live = LiveVoice()
    for start in range(0, len(sound) - PIECE, PIECE):
        live.push(sound[start : start + PIECE])
        end_s = (start + PIECE) / RATE_HZ
        talking = live.hear(np.array([end_s])).is_talking
        assert talking == (end_s > 2.1) or 2 < end_s < 2.1
