"""Which clips are measured, and the check against the list."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from openemo.errors import ConfigError
from openemo.evaluation.benchmark_clips import ClipList, find_clips, find_video, list_clips, pair_voices
from openemo.settings import load_recipe

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("c.mp4", "a.MOV", "b.txt", "d.mkv"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_clips_are_the_videos_of_a_folder_by_name(folder: Path) -> None:
    assert [clip.name for clip in find_clips(folder)] == ["a.MOV", "c.mp4", "d.mkv"]
    assert [clip.name for clip in find_clips(folder, limit=2)] == ["a.MOV", "c.mp4"]
    assert [clip.name for clip in find_clips(folder, ["d.mkv", "c.mp4"])] == ["d.mkv", "c.mp4"]
    assert find_clips(folder)[1].sha256 == sha256(b"c.mp4").hexdigest()


@pytest.mark.parametrize(
    ("names", "limit", "message"),
    [
        (None, 0, "got 0; expected 1 or more"),
        (["a.MOV", "z.mp4"], None, "1 clips of the list are not in .*; got no z.mp4"),
    ],
)
def test_wrong_names_and_limits_are_refused(
    folder: Path, names: list[str] | None, limit: int | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        find_clips(folder, names, limit)


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no video clips"):
        find_clips(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        find_clips(tmp_path / "none")


def test_each_clip_gets_anothers_voice(folder: Path) -> None:
    clips = pair_voices(find_clips(folder))
    voices = [clip.voice.name for clip in clips if clip.voice is not None]
    assert voices == ["c.mp4", "d.mkv", "a.MOV"]
    assert [clip.voice_sha256 for clip in clips] == [clips[1].sha256, clips[2].sha256, clips[0].sha256]
    (alone,) = pair_voices(find_clips(folder, limit=1))
    assert alone.voice is None


def test_lists_are_checked_by_hash(folder: Path) -> None:
    digest = sha256(b"c.mp4").hexdigest()
    benchmark = ClipList(title="t", source="s", command="c", clips={"c.mp4": digest})
    assert [clip.name for clip in list_clips(folder, benchmark)] == ["c.mp4"]
    (folder / "c.mp4").write_text("another one")
    with pytest.raises(ConfigError, match=r"c.mp4 is not the clip of the list; got sha256 .*; expected "):
        list_clips(folder, benchmark)


def test_videos_are_found_by_name(folder: Path) -> None:
    assert find_video(folder, Path("elsewhere/c.avi")) == folder / "c.mp4"
    assert find_video(folder, Path("b.mp4")) is None
    (folder / "c.mov").touch()
    with pytest.raises(ConfigError, match=r"several videos for the clip c.mp4; got c.mov, c.mp4"):
        find_video(folder, Path("c.mp4"))


@pytest.mark.parametrize(("name", "count"), [("grid_others", 10), ("grid_s1_held_out", 30)])
def test_benchmarks_are_of_the_clips_that_they_name(shared_dir: Path, name: str, count: int) -> None:
    benchmark = load_recipe(ClipList, BENCHMARKS / f"{name}.yaml", [])
    assert len(benchmark.clips) == count
    words = benchmark.command.split()
    assert words[words.index("--list") + 1] == f"benchmarks/{name}.yaml"
    corpus = shared_dir / Path(words[words.index("--clips") + 1]).relative_to("../shared")
    assert len(list_clips(corpus, benchmark)) == count
