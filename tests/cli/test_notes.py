"""What the command line shows of the library's log, and the sound track that it reads."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from openemo.cli.main import main


@pytest.fixture
def two_tracks(tmp_path: Path) -> Path:
    """A file with a silent sound track, and a default one that is not silent."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        streams[0].disposition, streams[1].disposition = Disposition(0), Disposition.default
        for stream, level in zip(streams, (0.0, 0.25), strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 800), level, np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["openemo: error: the output would replace the input"]),
        (["--audio-track", "0"], ["openemo: error: the output would replace the input"]),
        (["--audio-track", "2"], ["openemo: error: no sound track 2 in {path}; got 2 sound tracks"]),
    ],
)
def test_the_sound_track(
    two_tracks: Path,
    portrait_path: Path,
    options: list[str],
    expected: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The output is the input, so that the command ends before it loads a network."""
    code = main(["animate", str(portrait_path), str(two_tracks), "-o", str(two_tracks), *options])
    lines = capsys.readouterr().err.splitlines()
    assert code == 1
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start.format(path=two_tracks))


def test_each_record_is_shown_once() -> None:
    """In a process of its own, because pytest has handlers, too."""
    code = (
        "import logging\n"
        "from openemo.cli.notes import show_log, warnings_as_notes\n"
        "with warnings_as_notes():\n"
        "    show_log()\n"
        "    for name in ('openemo.audio', 'other'):\n"
        "        logging.getLogger(name).info('said')\n"
        "        logging.getLogger(name).warning('warned')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = result.stderr.splitlines()
    assert lines[1] == "openemo: note: warned"
    assert [line[9:] for line in (lines[0], *lines[2:])] == ["said", "said", "warned"]
