"""Prosody of sounds whose pitch, pauses and phrases are known, and of real speech and song."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openemo.arrays import Doubles, Samples
from openemo.audio import Audio, Prosody, measure_prosody, read_audio
from openemo.audio.beat_tracking import track_beats
from openemo.audio.pitch import track_pitch
from tests.no_connections import SUPPORTED

RATE_HZ = 16_000
FPS = Fraction(25)


def hum(semitones: Doubles, base_hz: float = 140.0) -> Samples:
    """A voice of ten harmonics with the pitch (N,) that is asked for."""
    phase = np.cumsum(base_hz * 2 ** (semitones / 12) / RATE_HZ)
    tones = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 11))
    return np.asarray(0.1 * tones, np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def ramp(start: float, stop: float, seconds: float) -> Doubles:
    return np.linspace(start, stop, round(seconds * RATE_HZ))


def audio_of(*parts: Samples) -> Audio:
    return Audio(np.concatenate(parts)[None], RATE_HZ)


def two_phrases() -> Audio:
    """0.5 s of silence, 1.5 s that rise by 6 semitones, a pause of 0.6 s, 1.5 s that fall by 6, 0.5 s."""
    return audio_of(silence(0.5), hum(ramp(-3, 3, 1.5)), silence(0.6), hum(ramp(3, -3, 1.5)), silence(0.5))


def as_file(audio: Audio, rate_hz: int, num_channels: int) -> Audio:
    resampled = audio.resample(rate_hz).samples
    return Audio(np.repeat(resampled, num_channels, axis=0), rate_hz)


@pytest.mark.parametrize(("rate_hz", "num_channels"), [(16_000, 1), (8_000, 1), (44_100, 2), (96_000, 2)])
def test_pitch_pauses_and_phrases_are_found_at_any_rate(rate_hz: int, num_channels: int) -> None:
    prosody = measure_prosody(as_file(two_phrases(), rate_hz, num_channels))
    assert prosody.phrases_s == pytest.approx(np.array([[0.5, 2.0], [2.6, 4.1]]), abs=0.06)
    assert prosody.phrase_rises[0] > 0.7 > -0.7 > prosody.phrase_rises[1]
    times_s = np.arange(len(prosody)) / float(prosody.rate_hz)
    inside = (times_s > 0.6) & (times_s < 1.9)
    assert prosody.is_voiced_F[inside].mean() > 0.95
    assert not prosody.is_voiced_F[(times_s > 2.1) & (times_s < 2.5)].any()
    # The network's steps of pitch are a third of a semitone apart.
    expected = np.interp(times_s, (0.5, 2.0), (-3, 3))[inside]
    assert np.abs(prosody.pitch_semitones_F[inside] - expected).mean() < 0.3


def test_the_level_of_a_recording_changes_nothing() -> None:
    voice = two_phrases()
    loud, quiet = measure_prosody(voice), measure_prosody(Audio(voice.samples * np.float32(0.01), RATE_HZ))
    assert quiet.phrases_s == pytest.approx(loud.phrases_s, abs=0.02)
    assert quiet.loudness_db_F == pytest.approx(loud.loudness_db_F, abs=0.1)
    assert quiet.fingerprint != loud.fingerprint


def test_an_accent_is_found_where_the_voice_rises_and_swells() -> None:
    seconds = np.arange(4 * RATE_HZ) / RATE_HZ
    bumps = sum(np.exp(-0.5 * ((seconds - middle) / 0.08) ** 2) for middle in (1.0, 2.5))
    voice = hum(4 * np.asarray(bumps)) * (0.3 + 0.7 * np.asarray(bumps)).astype(np.float32)
    prosody = measure_prosody(audio_of(voice))
    strongest = prosody.accents_s[np.argsort(prosody.accent_strengths)[-2:]]
    assert sorted(strongest) == pytest.approx([1.0, 2.5], abs=0.05)
    assert prosody.accent_rises[np.argsort(prosody.accent_strengths)[-2:]].min() > 2


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros(1, np.float32),
        np.zeros(5 * RATE_HZ, np.float32),
        np.full(2 * RATE_HZ, 1e-4, np.float32),
        (0.02 * np.random.default_rng(1).standard_normal(5 * RATE_HZ)).astype(np.float32),
    ],
    ids=["nothing", "one sample", "silence", "offset", "hiss"],
)
def test_what_is_no_voice_has_no_speech(samples: Samples) -> None:
    prosody = measure_prosody(Audio(samples[None], RATE_HZ))
    assert not prosody.is_speech_F.any()
    assert prosody.phrases_s.shape == (0, 2)
    assert len(prosody.accents_s) == len(prosody.beats_s) == 0
    assert not prosody.is_song
    assert prosody.arousal == 0
    assert len(prosody.at(30, FPS)) == 30


def test_a_tenth_of_a_second_is_enough() -> None:
    prosody = measure_prosody(audio_of(hum(ramp(0, 0, 0.1))))
    assert prosody.is_speech_F.any()
    assert np.isfinite(prosody.pitch_semitones_F).all()


def test_frames_of_a_video_show_the_same_moments_and_end_in_a_pause() -> None:
    prosody = measure_prosody(two_phrases())
    slow, fast = prosody.at(200, FPS), prosody.at(400, Fraction(50))
    assert slow.loudness_db_F == pytest.approx(fast.loudness_db_F[::2])
    assert slow.is_speech_F.tolist() == fast.is_speech_F[::2].tolist()
    assert slow.is_speech_F[round(1.0 * 25)]
    assert not slow.is_speech_F[round(4.6 * 25) :].any()
    assert slow.loudness_db_F[-1] == -60


def test_pitch_does_not_change_where_the_network_starts_anew() -> None:
    """It sees eight seconds at once."""
    voice = hum(np.sin(np.arange(40 * RATE_HZ) / RATE_HZ))
    track = track_pitch(voice)
    expected_hz = 140 * 2 ** (np.sin(np.arange(len(track.pitch_hz_T)) * 0.016) / 12)
    assert np.abs(np.log2(track.pitch_hz_T / expected_hz))[5:-5].max() * 12 < 0.6
    assert track.confidence_T[5:-5].min() > 0.5


def test_beats_are_where_the_clicks_are() -> None:
    rng = np.random.default_rng(2)
    samples = (1e-3 * rng.standard_normal(12 * RATE_HZ)).astype(np.float32)
    clicks_s = np.arange(0.4, 11.6, 0.6)
    for click_s in clicks_s:
        start = round(click_s * RATE_HZ)
        samples[start : start + 800] += 0.3 * rng.standard_normal(800) * np.linspace(1, 0, 800)
    beats_s, regularity = track_beats(samples)
    assert regularity > 0.8
    assert np.diff(beats_s) == pytest.approx(0.6, abs=0.04)
    assert max(np.abs(clicks_s - beat_s).min() for beat_s in beats_s[1:-1]) < 0.05


def test_speech_is_no_song_and_a_song_is_one(shared_dir: Path, voice_path: Path) -> None:
    song = read_audio(shared_dir / "data/singing/antagata_dokosa.flac")
    prosody = measure_prosody(song)
    assert prosody.is_song
    assert len(prosody.beats_s) > 20
    spoken = [voice_path, *sorted((shared_dir / "data/speech").glob("*.ogg"))[::6]]
    assert len(spoken) > 4
    for path in spoken:
        assert not measure_prosody(read_audio(path)).is_song, path.name


def test_a_lively_voice_is_more_aroused_than_a_flat_one() -> None:
    steps = np.arange(6 * RATE_HZ) / RATE_HZ
    swell = (0.55 + 0.45 * np.sin(2 * np.pi * 3.2 * steps)).astype(np.float32)

    def arousal(range_semitones: float, depth: float) -> float:
        voice = hum(range_semitones * np.sin(2 * np.pi * 0.7 * steps))
        return measure_prosody(audio_of(voice * (1 - depth + depth * swell).astype(np.float32))).arousal

    assert arousal(5, 1) > arousal(1, 0.4) + 0.2


def test_the_fingerprint_is_of_the_samples() -> None:
    def fingerprint(voice: Audio) -> int:
        prosody: Prosody = measure_prosody(voice)
        return prosody.fingerprint

    voice = two_phrases()
    other = Audio(voice.samples[:, 100:], RATE_HZ)
    assert fingerprint(voice) == fingerprint(two_phrases()) != fingerprint(other)


@pytest.mark.skipif(not SUPPORTED, reason="system calls are only filtered on Linux")
def test_the_pitch_network_connects_to_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "from tests.no_connections import forbid_connections; forbid_connections()\n"
        "import numpy; from openemo.audio.pitch import track_pitch\n"
        "print(len(track_pitch(numpy.zeros(16000, numpy.float32)).pitch_hz_T))"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "62\n", done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
