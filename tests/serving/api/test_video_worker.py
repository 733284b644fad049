"""A worker with real, tiny networks: what becomes of a job that is made, deleted, failed, or stopped."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from examples import api_client

pytest.importorskip("sqlalchemy", reason="the extra `serve` is not installed")

from openemo.pipeline import EmoPipeline
from openemo.serving.api.api_database import open_database
from openemo.serving.api.api_keys import NOBODY
from openemo.serving.api.api_settings import ApiSettings
from openemo.serving.api.job_files import JobFiles
from openemo.serving.api.job_store import JobStore, NewJob, StoredJob
from openemo.serving.api.video_request import VideoForm
from openemo.serving.api.video_worker import VideoWorker
from openemo.serving.time_estimate import TimeEstimate
from openemo.serving.video_jobs import VideoMaker
from openemo.video.video_reader import probe
from tests.serving.voices import write_voice


class Bench:
    """A store, files and a worker in a thread; small files, for time."""

    def __init__(self, pipeline: EmoPipeline, data: Path, portrait: Path, **options: Any) -> None:
        self.settings = ApiSettings(data=data, **options)
        self.engine = open_database(self.settings.url)
        self.store, self.files = JobStore(self.engine), JobFiles(data)
        self.portrait = data / "me.jpg"
        Image.open(portrait).resize((400, 400)).save(self.portrait)
        (data / "making").mkdir()
        self.maker = VideoMaker(
            pipeline, data / "making", limits=self.settings.limits, estimate=TimeEstimate()
        )
        self.stop = threading.Event()
        worker = VideoWorker("w", self.store, self.files, self.maker, self.settings, self.stop)
        self.thread = threading.Thread(target=worker.run)
        self.thread.start()

    def accept(self, name: str, seconds: float, **options: Any) -> StoredJob:
        form = VideoForm(**{"framing": "crop", "size_px": 96, **options})
        with self.files.incoming(name) as folder:
            shutil.copy(self.portrait, folder / "image_reference")
            write_voice(folder / "audio_reference", seconds)
        names = ["image_reference", "audio_reference"]
        return self.store.add(NOBODY, NewJob(name, form.model_dump(), names, seconds, name))

    def until(self, name: str, is_so: Callable[[StoredJob], bool]) -> StoredJob:
        end = time.monotonic() + 300
        while not is_so(job := self.found(name)):
            assert time.monotonic() < end, "waited for minutes"
            time.sleep(0.02)
        return job

    def found(self, name: str) -> StoredJob:
        job = self.store.find(NOBODY, name)
        assert job is not None
        return job

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        self.maker.close()
        self.engine.dispose()


@pytest.fixture
def bench(tiny_pipeline: EmoPipeline, tmp_path: Path, portrait_path: Path) -> Iterator[Bench]:
    bench = Bench(tiny_pipeline, tmp_path, portrait_path, grace_s=0.1)
    yield bench
    bench.close()


def test_a_video_and_one_that_cannot_be_made(bench: Bench, tmp_path: Path) -> None:
    bench.accept("good", 0.4, seed=3)
    bench.accept("bad", 0.4, face_index=5)
    job = bench.until("good", lambda job: job.is_over)
    assert (job.status, job.frames_done) == ("completed", 10)
    assert job.made is not None
    assert (job.made["seed"], job.made["width"], job.made["num_frames"]) == (3, 96, 10)
    result = bench.files.result(job)
    assert sorted(path.name for path in result.iterdir()) == ["poster.jpg", "sheet.jpg", "video.mp4"]
    assert probe(result / "video.mp4").num_frames == 10
    failed = bench.until("bad", lambda job: job.is_over)
    assert failed.error is not None
    assert failed.error["code"] == "no_usable_face"
    assert str(tmp_path) not in failed.error["message"]
    # The files that were sent are gone.
    bench.until("bad", lambda _: not list((tmp_path / "videos/bad").iterdir()))
    assert list((tmp_path / "videos/good").iterdir()) == [result]
    assert list((tmp_path / "making").iterdir()) == []
    assert bench.store.counters()["frames"] == 10


def test_from_request_to_video_over_http(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example client, and the request that waits, against a server that listens."""
    uvicorn = pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from openemo.serving.addresses import http_address, listening, local_hosts
    from openemo.serving.api.api_keys import ApiKeys
    from openemo.serving.api.video_routes import guarded_api
    from openemo.serving.api.video_service import VideoService

    portrait, voice = bench.portrait, write_voice(tmp_path / "voice.wav", 0.4)
    service = VideoService(bench.store, bench.files, ApiKeys(bench.engine), bench.settings)
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        api = guarded_api(service, hosts=local_hosts(port))
        server = uvicorn.Server(uvicorn.Config(api, log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        monkeypatch.setattr(api_client, "URL", f"{http_address('127.0.0.1', port)}/v1")
        options = {"framing": "crop", "size_px": 96}
        polled = api_client.animate(portrait, voice, **options)
        files = {"image_reference": portrait, "audio_reference": voice}
        waited = api_client.ask("/videos/sync", api_client.data_urls(files) | options)
        server.should_exit = True
        thread.join(30)
    for number, video in enumerate((polled, waited)):
        (tmp_path / f"{number}.mp4").write_bytes(video)
        assert probe(tmp_path / f"{number}.mp4").num_frames == 10


def test_deleted_in_the_making(bench: Bench, tmp_path: Path) -> None:
    bench.accept("long", 20)
    bench.until("long", lambda job: job.frames_done > 0)
    assert bench.store.delete(NOBODY, "long")
    bench.files.delete("long")
    bench.accept("next", 0.4)
    bench.until("next", lambda job: job.status == "completed")
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["next"]


def test_a_worker_that_stops_gives_its_video_back(bench: Bench) -> None:
    bench.accept("long", 6)
    bench.until("long", lambda job: job.status == "in_progress")
    bench.stop.set()
    bench.thread.join(30)
    job = bench.found("long")
    assert (job.status, job.attempts, job.worker) == ("queued", 0, None)
    assert bench.files.inputs(job)["audio_reference"].exists()


def test_a_video_that_takes_too_long(tiny_pipeline: EmoPipeline, tmp_path: Path, portrait_path: Path) -> None:
    bench = Bench(tiny_pipeline, tmp_path, portrait_path, max_job_s=0.1)
    bench.accept("long", 6)
    job = bench.until("long", lambda job: job.is_over)
    bench.close()
    assert job.error == {"code": "took_too_long", "message": "it took over 0.1 s."}
