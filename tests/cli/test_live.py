"""`openemo live`: sound in, a stream out, with the exit codes of a pipe."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from openemo.audio import read_audio
from openemo.cli.live import live
from openemo.cli.live_devices import Source
from openemo.cli.main import main
from openemo.pipeline import EmoPipeline
from openemo.pipeline.stream_options import StreamOptions
from openemo.video.images import read_image

# Options that are no arguments of the stream.
OWN = {
    *("portrait", "source", "target", "output_format", "model", "device", "dtype", "engine", "max_pixels"),
    *("watermark", "badge"),  # fields of its `marking`
}


def pcm(voice: Path, seconds: float) -> bytes:
    samples = read_audio(voice).mono().resample(16_000).samples[0, : round(16_000 * seconds)]
    return np.round(samples * 32767).astype("<i2").tobytes()


def command(tiny_dir: Path, portrait: Path, *options: str) -> list[str]:
    small = ["--model", str(tiny_dir), "--size-px", "64", "--no-realtime"]
    return [sys.executable, "-m", "openemo", "live", str(portrait), *small, *options]


@pytest.mark.slow
def test_a_voice_becomes_a_stream(tiny_dir: Path, portrait_path: Path, voice_path: Path) -> None:
    sound = pcm(voice_path, 0.8)
    done = subprocess.run(
        command(tiny_dir, portrait_path), input=sound, capture_output=True, check=False, timeout=550
    )
    assert done.returncode == 0, done.stderr
    assert b"20 frames" in done.stderr
    with av.open(io.BytesIO(done.stdout), "r") as container:
        frames = list(container.decode(video=0))
    assert [frame.width for frame in frames] == [64] * 20


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(tiny_dir: Path, portrait_path: Path) -> None:
    with subprocess.Popen(
        command(tiny_dir, portrait_path, "--format", "rgb24"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        feeding = threading.Thread(target=_feed, args=(running.stdin,), daemon=True)
        feeding.start()
        assert running.stdout.read(64 * 64 * 3)
        running.stdout.close()
        assert running.wait(timeout=550) == 0
        feeding.join()


def _feed(file: Any) -> None:
    try:
        while True:
            file.write(bytes(6400))
            file.flush()
    except OSError:
        pass


def test_options_are_arguments_of_the_stream() -> None:
    options = set(inspect.signature(live).parameters) - OWN
    assert options <= set(StreamOptions.__annotations__)
    assert set(StreamOptions.__annotations__) - options == {
        "guidance_scale",
        "limits",
        "marking",
        "num_inference_steps",
        "speed",
        "transparent",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "window"], "a window cannot be opened"),
        (["--to", "camera"], "pyvirtualcam"),
        (["--from", "microphone"], "microphone"),
        (["--lookahead-s", "0.01"], "lookahead_s"),
    ],
)
def test_what_is_missing_is_said(
    options: list[str],
    said: str,
    tiny_dir: Path,
    portrait_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("sounddevice", "pyvirtualcam"):
        monkeypatch.setitem(sys.modules, name, None)
    arguments = ["live", str(portrait_path), "--model", str(tiny_dir), *options]
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("openemo: error: ")
    assert said in error


def test_a_microphone_speaks(
    tiny_pipeline: EmoPipeline, portrait_path: Path, voice_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the device library hands out blocks of the bundled voice."""
    sound = pcm(voice_path, 0.5)

    class RawInputStream:
        def __init__(
            self, *, blocksize: int, callback: Any, samplerate: int, channels: int, dtype: str
        ) -> None:
            assert (samplerate, channels, dtype) == (16_000, 1, "int16")
            self.blocks = [sound[at : at + 2 * blocksize] for at in range(0, len(sound), 2 * blocksize)]
            self.callback = callback

        def __enter__(self) -> None:
            for block in self.blocks:
                self.callback(memoryview(block), len(block) // 2, None, None)

        def __exit__(self, *_: object) -> None: ...

    devices = SimpleNamespace(RawInputStream=RawInputStream, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    portrait = read_image(portrait_path)
    stream = tiny_pipeline.stream(portrait, framing="crop", size_px=64, num_inference_steps=1)
    with stream, Source.open("microphone", 16_000) as source, source.sending_to(stream):
        stream.end()
        heard = np.concatenate([frame.samples for frame in stream])
    given = np.frombuffer(sound, "<i2") / np.float32(2**15)
    assert np.array_equal(heard[: len(given)], given[: len(heard)])
