from __future__ import annotations

import logging
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.stream import Disposition
from PIL import Image as Pillow

from openemo.audio import audio_reader
from openemo.audio.audio_reader import Audio, decode_audio, read_audio
from openemo.decoding_limits import DecodingLimits
from openemo.errors import AudioError

Samples = npt.NDArray[np.float32]
CLICK_S = 1.37


def click_track(sample_rate_hz: int, duration_s: float = 2.123, channels: int = 1) -> Samples:
    """Silence with one short damped tone at CLICK_S, half as loud in the second channel."""
    samples = np.zeros((channels, round(duration_s * sample_rate_hz)), np.float32)
    time_s = np.arange(round(0.02 * sample_rate_hz)) / sample_rate_hz
    start = round(CLICK_S * sample_rate_hz)
    tone = 0.8 * np.sin(2 * np.pi * 1_500 * time_s) * np.exp(-time_s / 0.004)
    for channel in range(channels):
        samples[channel, start : start + tone.size] = tone / (channel + 1)
    return samples


def encode(path: Path, codec: str, samples: Samples, sample_rate_hz: int, start_s: float = 0.0) -> None:
    layout = "mono" if len(samples) == 1 else "stereo" if len(samples) == 2 else "5.1"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sample_rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        for start in range(0, samples.shape[1], 1_000):
            piece = np.ascontiguousarray(samples[:, start : start + 1_000])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate = sample_rate_hz
            frame.pts = start + round(start_s * sample_rate_hz)
            frame.time_base = Fraction(1, sample_rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def lag_samples(decoded: Samples, sent: Samples) -> int:
    """How much later `decoded` is, by the peak of the cross-correlation."""
    size = max(decoded.size, sent.size) * 2
    product = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(sent, size))
    lag = int(np.argmax(np.fft.irfft(product)))
    return lag - size if lag > size // 2 else lag


@pytest.mark.parametrize(
    ("name", "codec", "sample_rate_hz"),
    [
        ("a.wav", "pcm_s16le", 8_000),
        ("a.wav", "pcm_u8", 11_025),
        ("a.wav", "pcm_s24le", 96_000),
        ("a.wav", "pcm_f32le", 192_000),
        ("a.flac", "flac", 44_100),
        ("a.ogg", "libopus", 48_000),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.m4a", "aac", 22_050),
        ("a.mp4", "aac", 48_000),
        ("a.mkv", "aac", 44_100),
        ("a.webm", "libopus", 48_000),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_is_not_shifted(
    tmp_path: Path, name: str, codec: str, sample_rate_hz: int, channels: int
) -> None:
    sent = click_track(sample_rate_hz, channels=channels)
    encode(tmp_path / name, codec, sent, sample_rate_hz)
    audio = read_audio(tmp_path / name)
    assert audio.sample_rate_hz == sample_rate_hz
    assert audio.num_channels == channels
    assert audio.samples.dtype == np.float32
    assert [lag_samples(audio.samples[c], sent[c]) for c in range(channels)] == [0] * channels
    # Matroska does not store how much of the last AAC block is padding.
    padding = 1_024 if (name, codec) == ("a.mkv", "aac") else 0
    assert 0 <= audio.num_samples - sent.shape[1] <= padding


def test_pcm_is_exact(tmp_path: Path) -> None:
    sent = (np.arange(-700, 777)[None] * 40 / 32_768).astype(np.float32)
    encode(tmp_path / "a.wav", "pcm_s16le", sent, 16_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav").samples, sent)


def test_surround_is_mixed_to_stereo(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", "pcm_s16le", click_track(16_000, channels=6), 16_000)
    audio = read_audio(tmp_path / "a.wav")
    assert audio.num_channels == 2
    assert np.abs(audio.samples).max() > 0.1


def test_loud_floats_are_clipped(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", "pcm_f32le", (click_track(16_000) * 9).astype(np.float32), 16_000)
    assert np.abs(read_audio(tmp_path / "a.wav").samples).max() == 1.0


def test_late_track_starts_with_silence(tmp_path: Path) -> None:
    sent = click_track(16_000)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, width=32, height=16, pix_fmt="yuv420p")
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for _ in range(25):
            picture = av.VideoFrame.from_ndarray(np.zeros((16, 32, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(sent, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 8_000, Fraction(1, 16_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert lag_samples(read_audio(path).samples[0], sent[0]) == 8_000


def encode_with_gap(path: Path, gap_s: int, sample_rate_hz: int = 16_000) -> Samples:
    """Two tones of 0.1 s each. The second starts `gap_s` after the first ends."""
    tone = click_track(sample_rate_hz)[:, round(CLICK_S * sample_rate_hz) :][:, : sample_rate_hz // 10]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=sample_rate_hz, layout="mono")
        for start in (0, tone.size + gap_s * sample_rate_hz):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone), format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = sample_rate_hz, start, Fraction(1, sample_rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return tone


def test_a_gap_in_the_time_stamps_becomes_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tone = encode_with_gap(tmp_path / "a.mka", gap_s=60)
    samples = read_audio(tmp_path / "a.mka").samples
    np.testing.assert_array_equal(samples, np.hstack([tone, np.zeros((1, 60 * 16_000), np.float32), tone]))
    assert not caplog.records


def test_memory_follows_what_is_decoded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Silence far longer than the sound is not made, whatever the time stamps say."""
    tone = encode_with_gap(tmp_path / "a.mka", gap_s=6 * 3_600)
    tracemalloc.start()
    try:
        audio = read_audio(tmp_path / "a.mka")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**20  # six hours at this rate are 1.3 GiB
    np.testing.assert_array_equal(audio.samples, np.hstack([tone, tone]))
    assert "a.mka" in caplog.text
    assert "21600 s" in caplog.text


@pytest.fixture
def two_tracks(tmp_path: Path) -> Path:
    """A file with a silent track of 1 s, and a default one of 2 s that is 0.25 throughout."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        streams[0].disposition, streams[1].disposition = Disposition(0), Disposition.default
        for stream, level, size in zip(streams, (0.0, 0.25), (16_000, 32_000), strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, size), level, np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("track", "num_samples", "level"), [(None, 32_000, 0.25), (0, 16_000, 0.0), (1, 32_000, 0.25)]
)
def test_tracks(two_tracks: Path, track: int | None, num_samples: int, level: float) -> None:
    """The one that is marked as default, unless another is asked for."""
    samples = read_audio(two_tracks, track=track).samples
    np.testing.assert_array_equal(samples, np.full((1, num_samples), level, np.float32))


@pytest.mark.parametrize("track", [2, -1])
def test_an_unknown_track(two_tracks: Path, track: int) -> None:
    with pytest.raises(
        AudioError, match=rf"no sound track {track} in .*a\.mkv; got 2 sound tracks; expected 0 to 1"
    ):
        read_audio(two_tracks, track=track)


@pytest.mark.parametrize(
    "name", ["missing.wav", "empty.wav", "text.wav", "folder", "silent.mp4", "header.wav"]
)
def test_unusable_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound " * 99)
    (tmp_path / "folder").mkdir()
    encode(tmp_path / "header.wav", "pcm_s16le", click_track(16_000), 16_000)
    (tmp_path / "header.wav").write_bytes((tmp_path / "header.wav").read_bytes()[:44])
    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=32, height=16, pix_fmt="yuv420p")
        container.mux(stream.encode(av.VideoFrame(32, 16, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match=name):
        read_audio(tmp_path / name)


@pytest.mark.parametrize("name", ["take:1.wav", "-", "pipe:0", "concat:a|b", "http:x.wav"])
def test_a_name_is_a_file_and_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "a.wav", "pcm_s16le", click_track(16_000), 16_000)
    (tmp_path / "a.wav").rename(name)
    assert read_audio(name).num_samples == click_track(16_000).shape[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nvoice.ts\n#EXT-X-ENDLIST\n"),
        ("list.txt", "ffconcat version 1.0\nfile voice.ts\n"),
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, name: str, text: str) -> None:
    encode(tmp_path / "voice.ts", "mp2", click_track(16_000), 16_000)
    assert read_audio(tmp_path / "voice.ts").num_samples > 0
    (tmp_path / name).write_text(text)
    with pytest.raises(AudioError, match=rf"{name} cannot be read as sound.*playlist"):
        read_audio(tmp_path / name)


def test_tags_in_latin_1(tmp_path: Path) -> None:
    """Old WAV and MP3 files have tags that are no UTF-8."""
    sent = click_track(16_000)
    encode(tmp_path / "a.wav", "pcm_s16le", sent, 16_000)
    whole = bytearray((tmp_path / "a.wav").read_bytes())
    tags = b"LIST" + (18).to_bytes(4, "little") + b"INFOIART" + (6).to_bytes(4, "little") + b"Bj\xf6rk\0"
    whole += tags
    whole[4:8] = (len(whole) - 8).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(whole)
    assert read_audio(tmp_path / "a.wav").num_samples == sent.shape[1]


def test_not_a_number(tmp_path: Path) -> None:
    sent = click_track(16_000)
    sent[0, 5] = np.nan
    encode(tmp_path / "a.wav", "pcm_f32le", sent, 16_000)
    with pytest.raises(AudioError, match="not numbers"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.mp3", "libmp3lame")])
def test_the_rest_of_a_truncated_file_is_read(tmp_path: Path, name: str, codec: str) -> None:
    encode(tmp_path / name, codec, click_track(16_000), 16_000)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 3 // 4])
    assert 1.4 < read_audio(tmp_path / name).duration_s < 1.7


def test_truncated_mp4_is_an_error(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", "aac", click_track(16_000), 16_000)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=r"a\.mp4"):
        read_audio(tmp_path / "a.mp4")


def test_damage_in_the_middle_keeps_the_clock(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Audio after the damage keeps its time, because FLAC frames store their position."""
    rng = np.random.default_rng(0)
    sent = click_track(16_000, duration_s=3.0) + rng.normal(0, 1e-3, (1, 48_000)).astype(np.float32)
    encode(tmp_path / "a.flac", "flac", sent, 16_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    middle, size = len(data) // 2, len(data) // 10
    data[middle : middle + size] = bytes(size)
    (tmp_path / "a.flac").write_bytes(data)
    with caplog.at_level(logging.WARNING, logger="openemo"):
        audio = read_audio(tmp_path / "a.flac")
    assert audio.num_samples == pytest.approx(48_000, abs=16)
    assert abs(lag_samples(audio.samples[0, -8_000:], sent[0, -8_000:])) <= 16


@pytest.mark.parametrize("source_hz", [8_000, 11_025, 44_100, 48_000, 96_000, 192_000])
def test_resampling_keeps_time_and_level(source_hz: int) -> None:
    audio = Audio(click_track(source_hz), source_hz).resample(16_000)
    expected = click_track(16_000)
    assert audio.samples.shape[1] == round(expected.shape[1])
    assert abs(lag_samples(audio.samples[0], expected[0])) <= 1
    time_s = np.arange(2 * source_hz) / source_hz
    tone = Audio((np.sin(2 * np.pi * 440 * time_s)[None] / 2).astype(np.float32), source_hz).resample(16_000)
    exact = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000) / 2
    # Away from the ends the filter's ripple is far below the 3e-5 of 16-bit audio. Interpolation between the
    # filter's phases adds a little at 11,025 Hz.
    assert np.abs(tone.samples[0, 800:-800] - exact[800:-800]).max() < 1e-3


def test_mono_is_the_mean() -> None:
    audio = Audio(np.array([[0.5, 0.0, 1.0], [0.0, 0.25, -1.0]], np.float32), 3)
    np.testing.assert_array_equal(audio.mono().samples, [[0.25, 0.125, 0.0]])
    assert audio.duration_s == 1.0


@pytest.mark.parametrize("gain", [-1.0, -0.9, -1.1])
def test_mono_of_antiphase_is_the_louder_channel(gain: float) -> None:
    """Where one channel is the other one turned over, the mean has next to nothing of the voice."""
    voice = np.random.default_rng(0).normal(0, 0.1, 800).astype(np.float32)
    samples = np.stack([voice, np.float32(gain) * voice])
    louder = samples[1:] if gain < -1 else samples[:1]
    np.testing.assert_array_equal(Audio(samples, 800).mono().samples, louder)


@pytest.mark.parametrize("gain", [1.0, 0.0, -0.5])
def test_mono_is_the_mean_where_it_has_the_voice(gain: float) -> None:
    voice = np.random.default_rng(0).normal(0, 0.1, 800).astype(np.float32)
    samples = np.stack([voice, np.float32(gain) * voice])
    np.testing.assert_array_equal(Audio(samples, 800).mono().samples[0], samples.mean(axis=0))


@pytest.mark.parametrize("samples", [np.zeros(5, np.float32), np.zeros((1, 5)), np.zeros((3, 5), np.float32)])
def test_audio_checks_its_samples(samples: Any) -> None:
    with pytest.raises(AudioError):
        Audio(samples, 16_000)


def wav_header(sample_rate_hz: int, channels: int, num_bytes: int) -> bytes:
    """Of 16-bit samples."""
    block = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, sample_rate_hz, sample_rate_hz * block % 2**32, block, 16)
    head = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", num_bytes)
    return b"RIFF" + struct.pack("<I", len(head) + num_bytes) + head


@pytest.mark.parametrize("sample_rate_hz", [1, 900, 800_000, 10_000_000])
def test_rates_that_no_sound_has(sample_rate_hz: int) -> None:
    data = wav_header(sample_rate_hz, 1, 4_000) + bytes(4_000)
    with pytest.raises(
        AudioError, match=rf"rate of a\.wav is out of range; got {sample_rate_hz} Hz; expected 1,000"
    ):
        decode_audio(data, "a.wav")


@pytest.mark.parametrize("channels", [65, 255])
def test_too_many_channels(channels: int) -> None:
    data = wav_header(16_000, channels, channels * 2_000) + bytes(channels * 2_000)
    with pytest.raises(
        AudioError, match=r"a\.wav has too many channels; got \d+ channels; expected at most 64"
    ):
        decode_audio(data, "a.wav")


def test_channels_are_mixed(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", "pcm_s16le", np.full((6, 8_000), 0.1, np.float32), 16_000)
    assert read_audio(tmp_path / "a.wav").num_channels == 2


def test_a_sound_over_the_limit_of_seconds_ends_early(tmp_path: Path) -> None:
    """Ten hours of silence are 8 MB of FLAC; here two minutes."""
    encode(tmp_path / "a.flac", "flac", np.zeros((1, 120 * 16_000), np.float32), 16_000)
    assert read_audio(tmp_path / "a.flac", limits=DecodingLimits(max_seconds=120)).duration_s == 120
    tracemalloc.start()
    try:
        with pytest.raises(
            AudioError,
            match=r"a\.flac is too long; got over 10 s of sound; expected at most 10 s.*--max-seconds",
        ):
            read_audio(tmp_path / "a.flac", limits=DecodingLimits(max_seconds=10))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * 10 * 16_000 * 4


def test_a_sound_over_the_limit_of_memory_ends_early(tmp_path: Path) -> None:
    encode(tmp_path / "a.flac", "flac", np.zeros((2, 120_000), np.float32), 96_000)
    assert (
        read_audio(tmp_path / "a.flac", limits=DecodingLimits(max_memory_bytes=1_920_000)).num_samples
        == 120_000
    )
    with pytest.raises(AudioError, match=r"a\.flac needs too much memory; expected at most 0\.9 MB"):
        read_audio(tmp_path / "a.flac", limits=DecodingLimits(max_memory_bytes=1_800_000))


def test_long_sounds_are_joined_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = np.random.default_rng(2).normal(0, 0.1, (2, 50_000)).clip(-1, 1).astype(np.float32)
    encode(tmp_path / "a.wav", "pcm_f32le", sent, 16_000)
    encode_with_gap(tmp_path / "gap.mka", gap_s=2)
    gap = read_audio(tmp_path / "gap.mka").samples
    monkeypatch.setattr(audio_reader, "_BLOCK_BYTES", 9_000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav").samples, sent)
    np.testing.assert_array_equal(read_audio(tmp_path / "gap.mka").samples, gap)


def test_a_pattern_is_a_name(tmp_path: Path) -> None:
    """FFmpeg reads `x%03d.png` as a series of pictures."""
    encode(tmp_path / "x%03d.wav", "pcm_s16le", click_track(16_000), 16_000)
    assert read_audio(tmp_path / "x%03d.wav").num_samples > 0
    Pillow.new("RGB", (40, 30)).save(tmp_path / "x001.png")
    with pytest.raises(AudioError, match=r"there is no file .*x%03d\.png"):
        read_audio(tmp_path / "x%03d.png")
    with pytest.raises(AudioError, match=r"x001\.png has no sound"):
        read_audio(tmp_path / "x001.png")


def test_encrypted_sound_is_named(tmp_path: Path) -> None:
    encode(tmp_path / "a.m4a", "aac", click_track(16_000), 16_000)
    data = (tmp_path / "a.m4a").read_bytes().replace(b"mp4a", b"drms")
    with pytest.raises(AudioError, match=r"the sound of a\.m4a is encrypted"):
        decode_audio(data, "a.m4a")


def test_the_track_of_a_file_in_memory(two_tracks: Path) -> None:
    data = two_tracks.read_bytes()
    assert decode_audio(data, "a", track=0).num_samples == 16_000
    assert decode_audio(data, "a").num_samples == 32_000


def test_many_tracks(tmp_path: Path) -> None:
    path = tmp_path / "many.mka"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=8_000, layout="mono") for _ in range(100)]
        for number, stream in enumerate(streams):
            frame = av.AudioFrame.from_ndarray(np.full((1, 800), number / 128, np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8_000, 0, Fraction(1, 8_000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    np.testing.assert_array_equal(read_audio(path, 99).samples, np.full((1, 800), 99 / 128, np.float32))
