"""`openemo ui`: who may reach the page, and what is left when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openemo.cli.main import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "anybody who reaches this machine"),
        (["--host", "::"], "--force"),
        (["--auth", "me"], "NAME:PASSWORD"),
        (["--auth", ":x"], "NAME:PASSWORD"),
        (["--max-seconds", "0"], "out of range"),
    ],
)
def test_refused_before_anything_is_loaded(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ui", *words]) == 1
    assert message in capsys.readouterr().err


@contextmanager
def server(checkpoint: Path, temporary: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    pytest.importorskip("gradio", reason="the extra `ui` is not installed")
    command = [sys.executable, "-m", "openemo", "ui", "--port", "0", "--model", str(checkpoint)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(temporary)}
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()[0]
        finally:
            process.kill()


@pytest.mark.slow
def test_nothing_is_left_after_the_end_and_after_a_kill(tiny_dir: Path, tmp_path: Path) -> None:
    with server(tiny_dir, tmp_path) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            assert b"gradio" in answer.read()
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
        assert list(tmp_path.iterdir()) == []
    with server(tiny_dir, tmp_path) as (process, _):
        process.kill()
        process.wait()
        (killed,) = tmp_path.iterdir()
    with server(tiny_dir, tmp_path):
        assert not killed.exists()
