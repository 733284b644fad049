"""Videos one after the other: made, stopped, failed; what is left of each on the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openemo.decoding_limits import DEFAULT_LIMITS
from openemo.errors import AudioError, ConfigError
from openemo.pipeline import EmoPipeline
from openemo.provenance.content_credentials import read_credentials
from openemo.serving.time_estimate import TimeEstimate, spoken_time
from openemo.serving.video_jobs import VideoMaker
from openemo.video.video_reader import probe
from tests.serving.voices import write_voice

OPTIONS: dict[str, Any] = {"framing": "crop", "size_px": 96, "seed": 3}


@pytest.fixture
def maker(tiny_pipeline: EmoPipeline, tmp_path: Path) -> Iterator[VideoMaker]:
    folder = tmp_path / "videos"
    folder.mkdir()
    maker = VideoMaker(tiny_pipeline, folder, limits=DEFAULT_LIMITS, estimate=TimeEstimate())
    yield maker
    maker.close()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.01)


def left(maker: VideoMaker, tmp_path: Path) -> list[Path]:
    until(lambda: not maker.num_waiting)
    return list((tmp_path / "videos").iterdir())


def ahead_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("openemo-ahead")]


@pytest.fixture
def short_voice(voice_path: Path, tmp_path: Path) -> Path:
    return write_voice(tmp_path / "short.wav", 0.4)


def test_a_video_with_all_its_files(maker: VideoMaker, portrait_path: Path, short_voice: Path) -> None:
    job = maker.submit(portrait_path, short_voice, "mp4", OPTIONS)
    until(lambda: job.is_over)
    assert (job.state, job.error) == ("done", None)
    found = probe(job.files["video.mp4"])
    assert (found.num_frames, found.width, job.done, job.total, job.seed) == (10, 96, 10, 10, 3)
    told = read_credentials(job.files["video.mp4"])
    assert told is not None
    assert {"portrait_file_sha256", "voice_file_sha256"} <= set(told.generation)
    assert sorted(path.name for path in job.folder.iterdir()) == sorted(job.files)
    with Image.open(job.files["sheet.jpg"]) as sheet:
        assert sheet.width == 4 * 240 + 3 * 4
    assert job.preview is not None
    assert job.preview.startswith(b"\xff\xd8")
    assert maker.estimate.seconds(10, 96, 96) == pytest.approx(job.seconds)


def test_cancelled_in_the_middle(maker: VideoMaker, portrait_path: Path, tmp_path: Path) -> None:
    before = len(ahead_threads())
    job = maker.submit(portrait_path, write_voice(tmp_path / "long.wav", 60), "mp4", OPTIONS)
    until(lambda: job.done > 3)
    job.cancel()
    until(lambda: job.is_over)
    assert job.state == "cancelled"
    assert job.done < job.total
    assert left(maker, tmp_path) == []
    assert len(ahead_threads()) == before  # the generator was closed


def test_cancelled_while_it_waits(
    maker: VideoMaker, portrait_path: Path, short_voice: Path, tmp_path: Path
) -> None:
    first = maker.submit(portrait_path, write_voice(tmp_path / "long.wav", 60), "mp4", OPTIONS)
    second = maker.submit(portrait_path, short_voice, "mp4", OPTIONS)
    third = maker.submit(portrait_path, short_voice, "webm", OPTIONS)
    assert [maker.num_before(job) for job in (first, second, third)] == [0, 1, 2]
    second.cancel()
    first.cancel()
    until(lambda: third.is_over)
    assert [job.state for job in (first, second, third)] == ["cancelled", "cancelled", "done"]
    assert left(maker, tmp_path) == [third.folder]


def test_a_file_that_is_no_sound(maker: VideoMaker, portrait_path: Path, tmp_path: Path) -> None:
    job = maker.submit(portrait_path, portrait_path, "mp4", OPTIONS)
    until(lambda: job.is_over)
    assert job.state == "failed"
    assert isinstance(job.error, AudioError)
    assert left(maker, tmp_path) == []


def test_an_option_out_of_range(maker: VideoMaker, portrait_path: Path, short_voice: Path) -> None:
    job = maker.submit(portrait_path, short_voice, "mp4", OPTIONS | {"emotion_strength": 7.0})
    until(lambda: job.is_over)
    assert isinstance(job.error, ConfigError)


def test_unknown_format_and_too_many(maker: VideoMaker, portrait_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown `format`"):
        maker.submit(portrait_path, portrait_path, "exe", OPTIONS)
    voice = write_voice(tmp_path / "long.wav", 60)
    jobs = [maker.submit(portrait_path, voice, "mp4", OPTIONS) for _ in range(16)]
    with pytest.raises(ConfigError, match="too many videos"):
        maker.submit(portrait_path, voice, "mp4", OPTIONS)
    for job in jobs:
        job.cancel()


def test_closing_stops_what_is_being_made(
    tiny_pipeline: EmoPipeline, portrait_path: Path, tmp_path: Path
) -> None:
    maker = VideoMaker(tiny_pipeline, tmp_path, limits=DEFAULT_LIMITS, estimate=TimeEstimate())
    job = maker.submit(portrait_path, write_voice(tmp_path / "long.wav", 60), "mp4", OPTIONS)
    until(lambda: job.done > 0)
    maker.close()
    assert job.state == "cancelled"
    assert not job.folder.exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "a few seconds"),
        (38, "about 40 seconds"),
        (58, "about 1 minute"),
        (170, "about 3 minutes"),
        (5400, "about 1.5 hours"),
    ],
)
def test_spoken_time(seconds: float, text: str) -> None:
    assert spoken_time(seconds) == text


def test_the_estimate_grows_with_frames_and_pixels_and_learns() -> None:
    estimate = TimeEstimate()
    first = estimate.seconds(100, 512, 512)
    assert 1.5 * first < estimate.seconds(200, 512, 512) < 2 * first
    assert estimate.seconds(100, 1920, 1920) > 2 * first
    estimate.learn(50, 256, 256, 30.0)
    assert estimate.seconds(50, 256, 256) == pytest.approx(30)
