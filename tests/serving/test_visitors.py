"""Whose files are whose, and when they go."""

from __future__ import annotations

from pathlib import Path

import pytest

from openemo.errors import InputError
from openemo.serving.video_jobs import VideoJob
from openemo.serving.visitors import Visitors


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def visitors(clock: Clock) -> Visitors:
    return Visitors(100.0, clock)


def upload(folder: Path, name: str) -> str:
    path = folder / name / "picture.jpg"
    path.parent.mkdir()
    path.write_bytes(b"x")
    return str(path)


def finished_job(folder: Path) -> VideoJob:
    folder.mkdir()
    return VideoJob(folder, folder, {}, "mp4", folder, state="done")


def test_secrets_differ_and_unknown_ones_are_nobody(visitors: Visitors) -> None:
    one, other = visitors.welcome(), visitors.welcome()
    assert one.secret != other.secret
    assert len(one.secret) > 40
    assert visitors.find(one.secret) is one
    assert visitors.find(None) is visitors.find("x") is None
    with pytest.raises(InputError, match="no longer known"):
        visitors.of("x")


def test_files_of_one_who_is_away_are_deleted(visitors: Visitors, clock: Clock, tmp_path: Path) -> None:
    away, here = visitors.welcome(), visitors.welcome()
    mine, both = upload(tmp_path, "a"), upload(tmp_path, "b")
    visitors.add_uploads(away, [mine, both])
    visitors.add_uploads(here, [both])
    visitors.add_video(away, finished_job(tmp_path / "video"))
    clock.now_s = 80
    visitors.find(here.secret)
    clock.now_s = 101
    visitors.forget_absent()
    assert visitors.find(away.secret) is None
    assert visitors.find(here.secret) is here
    assert [path.name for path in tmp_path.iterdir()] == ["b"]  # the other one sent the same file


def test_one_whose_video_is_being_made_stays(visitors: Visitors, clock: Clock, tmp_path: Path) -> None:
    visitor = visitors.welcome()
    job = VideoJob(tmp_path, tmp_path, {}, "mp4", tmp_path / "video", state="working")
    visitors.add_video(visitor, job)
    clock.now_s = 1000
    visitors.forget_absent()
    assert visitor.unfinished is job
    job.state = "failed"
    visitors.forget_absent()
    assert visitors.find(visitor.secret) is None


def test_clearing_deletes_and_keeps_the_visitor(visitors: Visitors, tmp_path: Path) -> None:
    visitor = visitors.welcome()
    visitors.add_uploads(visitor, [upload(tmp_path, "a")])
    visitors.add_video(visitor, finished_job(tmp_path / "video"))
    visitor.choice("page").portrait = tmp_path
    visitors.clear(visitor)
    assert list(tmp_path.iterdir()) == []
    assert (visitor.uploads, visitor.videos, visitor.choices) == ({}, [], {})
    assert visitors.find(visitor.secret) is visitor


def test_pages_belong_to_who_named_them_first(visitors: Visitors) -> None:
    one, other = visitors.welcome(), visitors.welcome()
    assert visitors.owns_page(one, "abc")
    assert visitors.owns_page(one, "abc")
    assert not visitors.owns_page(other, "abc")


def test_nobody_fills_the_disk(visitors: Visitors, tmp_path: Path) -> None:
    visitor = visitors.welcome()
    for number in range(40):
        visitors.add_uploads(visitor, [upload(tmp_path, f"upload{number}")])
        visitors.add_video(visitor, finished_job(tmp_path / f"video{number}"))
    assert len(visitor.uploads) == 32
    assert len(visitor.videos) == 24
    assert len(list(tmp_path.iterdir())) == 32 + 24
    for _ in range(300):
        visitors.welcome()
    assert visitors.find(visitor.secret) is None
    assert list(tmp_path.iterdir()) == []
