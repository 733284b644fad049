"""`openemo serve`: its keys, who may reach it, and that kills lose no video."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openemo.cli.main import main
from openemo.pipeline import EmoPipeline
from tests.serving.voices import write_voice

pytest.importorskip("sqlalchemy", reason="the extra `serve` is not installed")


def test_others_need_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path)]
    assert main(words) == 1
    assert "anybody who reaches this machine could use the API" in capsys.readouterr().err


def test_keys_are_added_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path / "new")]
    limits = ["--seconds-per-day", "60", "--max-jobs", "2", "--metrics"]
    assert main(["serve", "keys", "add", "Example GmbH", *limits, *data]) == 0
    key_id, secret = re.findall(r"^(key_\w+)  Example GmbH\n(oek_\S{43})$", capsys.readouterr().out)[0]
    assert main(["serve", "keys", "revoke", key_id, *data]) == 0
    assert main(["serve", "keys", "list", *data]) == 0
    shown = capsys.readouterr().out
    assert re.search(
        rf"^{key_id}  Example GmbH  made .*: 600 .*, 2 jobs, 60 s a day, metrics, revoked 2", shown
    )
    assert secret not in shown
    assert main(["serve", "keys", "revoke", "key_0", *data]) == 1


@contextmanager
def server(checkpoint: Path, data: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
    command = [sys.executable, "-m", "openemo", "serve", "--port", "0", "--engine", "torch", *words]
    command += ["--model", str(checkpoint), "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ask(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


@pytest.mark.slow
def test_kills_lose_no_accepted_video(
    tiny_pipeline: EmoPipeline, tiny_dir: Path, portrait_path: Path, tmp_path: Path
) -> None:
    """Server and worker are killed, one in the middle of a video, the other right after it has answered. What
    they had accepted is made by the next worker.
    """
    from openemo.serving.api.api_database import open_database
    from openemo.serving.api.api_keys import NOBODY
    from openemo.serving.api.api_settings import ApiSettings
    from openemo.serving.api.job_files import JobFiles
    from openemo.serving.api.job_store import JobStore
    from openemo.serving.api.video_worker import VideoWorker
    from openemo.serving.time_estimate import TimeEstimate
    from openemo.serving.video_jobs import VideoMaker
    from openemo.video.video_reader import probe
    from tests.serving.api.test_video_api import as_json

    data = tmp_path / "data"
    picture = tmp_path / "me.jpg"
    Image.open(portrait_path).resize((400, 400)).save(picture)
    options = {"framing": "crop", "size_px": 96}

    def request(seconds: float) -> dict[str, Any]:
        sound = write_voice(tmp_path / "voice.wav", seconds).read_bytes()
        return as_json({"image_reference": picture.read_bytes(), "audio_reference": sound}, **options)

    with server(tiny_dir, data) as (process, address):
        first = ask(f"{address}/videos", request(1.2))["id"]
        end = time.monotonic() + 300
        while ask(f"{address}/videos/{first}")["status"] != "in_progress":
            assert time.monotonic() < end
            time.sleep(0.05)
        second = ask(f"{address}/videos", request(0.4))["id"]
        os.killpg(process.pid, signal.SIGKILL)

    engine = open_database(f"sqlite:///{data}/openemo.sqlite3")
    store, files = JobStore(engine, now=lambda: time.time() + 60), JobFiles(data)  # the lease is over
    jobs = [store.find(NOBODY, video) for video in (first, second)]
    assert [job and job.status for job in jobs] == ["in_progress", "queued"]
    stop, making = threading.Event(), tmp_path / "data" / "making"
    making.mkdir()
    settings = ApiSettings(data=data)
    maker = VideoMaker(tiny_pipeline, making, limits=settings.limits, estimate=TimeEstimate())
    worker = VideoWorker("next", store, files, maker, settings, stop)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    end = time.monotonic() + 300
    while any(store.num_open().values()) and time.monotonic() < end:
        time.sleep(0.05)
    stop.set()
    thread.join()
    maker.close()
    found = [store.find(NOBODY, video) for video in (first, second)]
    engine.dispose()
    assert [(job and job.status, job and job.attempts) for job in found] == [
        ("completed", 2),
        ("completed", 1),
    ]
    frames = [probe(files.result(job) / "video.mp4").num_frames for job in found if job is not None]
    assert frames == [30, 10]
