"""Decoding in a process of its own: the same results, and one clear error however that process ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from openemo.audio.audio_reader import Audio, read_audio
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import AudioError, ImageError, InputError
from openemo.pipeline.inputs import open_clip, to_audio, to_image, to_inputs
from openemo.sandbox.decoding import AudioDecoding, ClipDecoding
from openemo.video.images import read_image
from openemo.video.video_writer import VideoWriter
from tests.audio.test_audio_reader import click_track, encode, encode_with_gap

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of the system are Linux's here")


def picture() -> NDArray[np.uint8]:
    y, x = np.mgrid[0:47, 0:61]
    return np.stack([x * 4, y * 5, 120 + (x - y)], -1).astype(np.uint8)


def save_heic(image: Pillow.Image, path: Path) -> None:
    import pillow_heif

    pillow_heif.from_pillow(image).save(path, quality=90)


def save_jxl(image: Pillow.Image, path: Path) -> None:
    pylibjxl = pytest.importorskip("pylibjxl")
    path.write_bytes(pylibjxl.encode(np.asarray(image)))


def save_plain(image: Pillow.Image, path: Path) -> None:
    image.save(path)


SAVERS: dict[str, Callable[[Pillow.Image, Path], None]] = {".heic": save_heic, ".jxl": save_jxl}


MODES = ("RGB", "RGBA", "L", "P", "CMYK", "I;16", "1")
LACKING = {
    ".jpg": {"RGBA", "P", "I;16"},
    ".png": {"CMYK"},
    ".gif": {"CMYK"},
    ".bmp": {"CMYK", "I;16"},
    ".ppm": {"P", "CMYK"},
    ".tga": {"CMYK", "I;16"},
    ".jp2": {"P", "1"},
}
SUFFIXES = (".webp", ".tiff", ".avif", ".heic", ".jxl", *LACKING)
# What decodes a format does not know the mode; what converts a mode does not know the format. TIFF has all.
PAIRS = {
    (end, next(mode for mode in MODES[::step] if mode not in LACKING.get(end, ())))
    for end in SUFFIXES
    for step in (1, -1)
} | {(".tiff", mode) for mode in MODES}


@pytest.mark.parametrize(("suffix", "mode"), sorted(PAIRS))
def test_pictures_are_the_same_in_the_sandbox(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Pillow.fromarray(picture())
    image = image.convert("I") if mode == "I;16" else image
    path = tmp_path / f"picture{suffix}"
    SAVERS.get(suffix, save_plain)(image.convert(mode), path)
    assert np.array_equal(to_image(path, sandbox=True), read_image(path))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.wav", "pcm_s16le"),
        ("a.flac", "flac"),
        ("a.mp3", "libmp3lame"),
        ("a.m4a", "aac"),
        ("a.ogg", "libopus"),
        ("a.mkv", "aac"),
    ],
)
def test_sounds_are_the_same_in_the_sandbox(tmp_path: Path, name: str, codec: str) -> None:
    encode(tmp_path / name, codec, click_track(48_000, channels=2), 48_000)
    apart, here = to_audio(tmp_path / name, sandbox=True), read_audio(tmp_path / name)
    assert np.array_equal(apart.samples, here.samples)
    assert apart.sample_rate_hz == here.sample_rate_hz


def write_clip(path: Path, num_frames: int) -> None:
    """With sound."""
    voice = Audio(click_track(16_000, duration_s=1.5), 16_000)
    with VideoWriter(path, fps=Fraction(25), width=60, height=46, audio=voice, preset="ultrafast") as writer:
        for index in range(num_frames):
            writer.write(np.ascontiguousarray(np.roll(picture()[:46, :60], index, 1)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_clips_are_the_same_in_the_sandbox(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_clip(path, 10)
    with open_clip(path, max_s=0.3) as frames:
        apart = list(frames)
    with open_clip(path, max_s=0.3, sandbox=False) as frames:
        here = list(frames)
    assert len(apart) == 8
    assert [frame.time_s for frame in apart] == [frame.time_s for frame in here]
    np.testing.assert_array_equal([frame.image for frame in apart], [frame.image for frame in here])


def test_a_clip_is_read_as_it_is_taken(tmp_path: Path) -> None:
    """The reader may take its time, and stop."""
    write_clip(tmp_path / "a.mp4", 150)  # more than a pipe holds
    with (
        (tmp_path / "a.mp4").open("rb") as file,
        ClipDecoding(file, "a.mp4", DEFAULT_LIMITS, max_s=60) as decoding,
    ):
        frames = decoding.frames()
        assert next(frames).time_s == 0
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        for timer in timers:
            timer.join(30)  # it is cancelled: nothing ends the process while nobody waits for it
        assert not any(timer.is_alive() for timer in timers)
        assert next(frames).time_s == pytest.approx(0.04)
        os.kill(decoding.pid, signal.SIGKILL)
        with pytest.raises(InputError, match=r"that decodes a\.mp4 ended early; got SIGKILL"):
            list(frames)
    with pytest.raises(ProcessLookupError):
        os.kill(decoding.pid, 0)
    with (
        open_clip(b"no video", max_s=1) as frames,
        pytest.raises(InputError, match="the clip cannot be read as video"),
    ):
        next(frames)


def test_notes_and_errors_come_through(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    encode_with_gap(tmp_path / "a.mka", gap_s=6 * 3_600)
    with caplog.at_level(logging.WARNING, logger="openemo"):
        to_audio(tmp_path / "a.mka")
    (record,) = caplog.records
    assert record.name == "openemo.audio.audio_reader"
    assert "gaps of 21600 s" in record.getMessage()
    for sandbox in (True, False):
        with pytest.raises(ImageError, match="the picture is not an image; expected a JPEG") as caught:
            to_image(b"no picture", sandbox=sandbox)
        assert caught.value.what == "the picture is not an image"
        with pytest.raises(AudioError, match=r"no sound track 3 in .*; got 1 sound track; expected 0"):
            to_audio(tmp_path / "a.mka", 3, sandbox=sandbox)


@pytest.fixture(scope="module")
def slow_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So long that its decoding can be disturbed: 50 minutes."""
    path = tmp_path_factory.mktemp("slow") / "long.flac"
    encode(path, "flac", np.zeros((1, 3_000 * 8_000), np.float32), 8_000)
    return path


@on_linux
@pytest.mark.parametrize("number", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_process_that_crashes_is_one_clear_error(slow_sound: Path, number: str) -> None:
    with slow_sound.open("rb") as file, AudioDecoding(file, "a.flac", DEFAULT_LIMITS) as decoding:
        os.kill(decoding.pid, getattr(signal, number))
        with pytest.raises(
            AudioError, match=rf"that decodes a\.flac ended early; got {number}.*--no-sandbox"
        ):
            decoding.result()


def test_a_process_that_needs_too_long_is_one_clear_error(slow_sound: Path) -> None:
    limits = DecodingLimits(timeout_s=0.02)
    with (
        slow_sound.open("rb") as file,
        AudioDecoding(file, "a.flac", limits) as decoding,
        pytest.raises(AudioError, match=r"a\.flac takes too long to decode; got over 0\.02 s"),
    ):
        decoding.result()


def test_what_is_left_ends_the_process(slow_sound: Path) -> None:
    with slow_sound.open("rb") as file, AudioDecoding(file, "a.flac", DEFAULT_LIMITS) as decoding:
        pid = decoding.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("sandbox", [True, False])
def test_the_memory_of_a_picture_is_known_from_its_header(tmp_path: Path, sandbox: bool) -> None:
    Pillow.new("RGB", (1_000, 1_000)).save(tmp_path / "a.png")
    limits = DecodingLimits(max_memory_bytes=12_000_000)
    assert to_image(tmp_path / "a.png", limits=limits, sandbox=sandbox).shape == (1_000, 1_000, 3)
    limits = DecodingLimits(max_memory_bytes=11_999_999)
    with pytest.raises(ImageError, match=r"a\.png needs too much memory; expected at most 12 MB"):
        to_image(tmp_path / "a.png", limits=limits, sandbox=sandbox)


PROBE = """
import os, socket, subprocess, sys, threading
from openemo.decoding_limits import DecodingLimits
from openemo.sandbox.confinement import confine
import numpy as np
confine(DecodingLimits(max_memory_bytes=10**8))
done = []
def attempt(name, action):
    try:
        action()
        done.append(name)
    except (OSError, MemoryError, ValueError):
        pass
attempt("socket", lambda: socket.socket())
attempt("read", lambda: open("/etc/passwd"))
attempt("write", lambda: open(sys.argv[1], "w"))
attempt("fork", lambda: os.fork())
attempt("program", lambda: subprocess.run(["/bin/true"]))
attempt("execute", lambda: os.execv("/bin/true", ["true"]))
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("delete", lambda: os.unlink(sys.argv[1]))
attempt("memory", lambda: np.ones(10**9, np.uint8))
thread = threading.Thread(target=lambda: done.append("thread"))
thread.start(); thread.join()
os.write(1, " ".join(done).encode())
os._exit(0)
"""


@on_linux
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the filter is for x86-64")
def test_a_confined_process_can_only_compute(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    command = [sys.executable, "-c", PROBE, str(tmp_path / "there")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "thread", result.stderr
    assert (tmp_path / "there").exists()


def test_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for executable in ("", "/nowhere/python"):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(ImageError, match=r"no process can be started.*`sandbox=False`"):
            to_image(b"picture")


@pytest.mark.parametrize(
    "answer",
    [
        b'{"notes": [], "shape": [9000000, 9000000, 3]}\n',
        b'{"notes": [], "shape": [-1, 2, 3]}\n',
        b'{"notes": [], "shape": [2, 2, 3], "__class__": 1}\n123',
        b'{"notes": 3}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\xfe\n",
        b"x" * 3_000_000,
    ],
)
def test_the_answer_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    """A decoder that was taken over can send anything."""
    (tmp_path / "answer").write_bytes(answer)
    (tmp_path / "python").write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ImageError, match=r"sent a wrong answer|ended early"):
        to_image(b"picture")


def test_both_are_decoded_at_a_time_and_in_any_thread(portrait_path: Path, voice_path: Path) -> None:
    results: list[tuple[NDArray[np.uint8], Audio]] = []
    threads = [
        threading.Thread(target=lambda: results.append(to_inputs(portrait_path, voice_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for image, audio in results:
        assert np.array_equal(image, read_image(portrait_path))
        assert np.array_equal(audio.samples, read_audio(voice_path).samples)
