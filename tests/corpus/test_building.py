"""Whole builds of real clips: troubles are found, a run that is killed goes on, nothing is made twice."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.raw_videos.made_videos import BROKEN, make_raw_videos
from openemo.audio.audio_reader import decode_audio, read_audio
from openemo.corpus.build_settings import BuildSettings
from openemo.corpus.building import build
from openemo.corpus.collecting import Corpus
from openemo.errors import ConfigError, OutputError
from openemo.files import lock_file

MADE = ("late_sound.mp4", "phone.mp4", *BROKEN)
SETTINGS = BuildSettings(size_px=256, val_share=0.5)


def records(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("records/*/*.json")}


def facts(output: Path) -> dict[str, dict[str, Any]]:
    """By name of the source."""
    lines = (output / "index.jsonl").read_text().splitlines()
    return {Path(one["source"]).name: one for one in map(json.loads, lines)}


@pytest.fixture(scope="module")
def grid(shared_dir: Path) -> list[Path]:
    clips = sorted((shared_dir / "data/grid/others").glob("*.mp4"))
    if len(clips) < 8:
        pytest.skip("the data folder has no clips of several speakers")
    return clips[1:8]


@pytest.fixture(scope="module")
def killed(grid: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A folder in which a build was killed after its first clip, and what was done by then."""
    folder = tmp_path_factory.mktemp("killed")
    make_raw_videos(grid, folder / "raw", MADE)
    command = [
        sys.executable,
        "-m",
        "openemo",
        "data",
        "build",
        str(folder / "raw"),
        "-o",
        str(folder / "out"),
    ]
    command += ["--workers", "1", "size_px=256", "val_share=0.5"]
    with subprocess.Popen(command, start_new_session=True) as process:
        while process.poll() is None and not any((folder / "out").glob("parts/*/*.tar")):
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
    return folder, records(folder / "out")


@pytest.fixture(scope="module")
def resumed(killed: tuple[Path, dict[str, int]]) -> tuple[Path, Corpus]:
    folder, _ = killed
    corpus = build(folder / "raw", folder / "out", SETTINGS, licence="CC BY 4.0", workers=0)
    assert corpus is not None
    return folder / "out", corpus


@pytest.mark.slow
def test_a_killed_build_goes_on_and_makes_nothing_twice(
    killed: tuple[Path, dict[str, int]], resumed: tuple[Path, Corpus]
) -> None:
    folder, before = killed
    output, corpus = resumed
    after = records(output)
    parts = {name for name in before if "-" in name}
    assert {name: after[name] for name in parts} == {name: before[name] for name in parts}
    assert set(facts(output)) == {"late_sound.mp4", "phone.mp4"}
    assert corpus.packed == corpus.clips[""] == 2
    again = build(folder / "raw", output, SETTINGS, workers=0)
    assert records(output) == after
    assert again is not None
    assert (again.packed, again.clips[""], again.shards) == (0, 2, corpus.shards)
    assert not list(output.glob("parts/*/*.tar"))
    assert not list((output / "scratch").iterdir())


@pytest.mark.slow
def test_what_cannot_be_read_is_in_quarantine_with_its_reason(resumed: tuple[Path, Corpus]) -> None:
    output, corpus = resumed
    lines = [json.loads(line) for line in (output / "quarantine.jsonl").read_text().splitlines()]
    assert {Path(line["source"]).name for line in lines} == set(BROKEN)
    assert all("cannot be read" in line["reason"] for line in lines)
    assert corpus.sources == 5


@pytest.mark.slow
def test_late_sound_is_found_and_put_in_step(resumed: tuple[Path, Corpus], grid: list[Path]) -> None:
    output, _ = resumed
    late = facts(output)["late_sound.mp4"]
    assert late["scores"]["shift_frames"] == -9
    assert late["scores"]["sync"] > 0.15
    with tarfile.open(output / "shards" / late["shard"]) as shard:
        members = {ending: shard.extractfile(f"{late['name']}.{ending}") for ending in ("flac", "npz", "mp4")}
        data = {ending: file.read() for ending, file in members.items() if file is not None}
    sound, clean = decode_audio(data["flac"], "flac").samples[0], read_audio(grid[1]).mono().samples[0]
    end = len(sound) - round(0.4 * 16000)  # nine frames of it are beyond the end of the file
    assert np.corrcoef(sound[:end], clean[:end])[0, 1] > 0.97
    with np.load(io.BytesIO(data["npz"])) as tracks:
        assert tracks["points_16ths_px"].shape == (75, 478, 3)
        points = tracks["points_16ths_px"][..., :2] / 16
        assert ((points > 0) & (points < 256)).all()
        assert np.abs(tracks["head_deg"]).max() < 30


@pytest.mark.slow
def test_a_phone_video_is_upright_and_at_25_frames(resumed: tuple[Path, Corpus]) -> None:
    output, _ = resumed
    phone = facts(output)["phone.mp4"]
    assert abs(phone["pose_deg"]["roll"]) < 15
    assert phone["scores"]["shift_frames"] == 0
    assert phone["stop_s"] - phone["start_s"] == pytest.approx(3, abs=0.09)
    assert phone["licence"] == "CC BY 4.0"


@pytest.mark.slow
def test_the_report_needs_no_other_file(resumed: tuple[Path, Corpus]) -> None:
    output, _ = resumed
    page = (output / "report.html").read_text()
    for said in ("What is left after each step", "garbage.mp4", "min_face_px=80.0", "CC BY 4.0"):
        assert said in page
    outside = page.replace("http://www.w3.org/", "")
    assert "http" not in outside
    assert "<script" not in outside


@pytest.mark.slow
def test_a_folder_is_for_one_build_with_one_choice_of_settings(resumed: tuple[Path, Corpus]) -> None:
    output, _ = resumed
    with pytest.raises(OutputError, match="made with other settings"):
        build(output, output, BuildSettings(size_px=512))
    lock = lock_file(output / ".lock")
    assert lock is not None
    with pytest.raises(OutputError, match="another build works in"):
        build(output, output, SETTINGS)
    os.close(lock)


def test_shares_are_made_apart_and_packed_together(tmp_path: Path) -> None:
    raw, output = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for name in ("a.mp4", "b.mkv", "c.webm"):
        (raw / name).write_bytes(name.encode() * 100)
    assert build(raw, output, workers=0, share="1/2", sandbox=False) is None
    assert len(records(output)) == 2
    assert not (output / "report.html").exists()
    lock = lock_file(output / ".lock")  # shares do not wait for each other
    assert build(raw, output, workers=0, share="2/2", sandbox=False) is None
    assert lock is not None
    os.close(lock)
    before = records(output)
    corpus = build(raw, output, workers=0, sandbox=False)
    assert corpus is not None
    assert (corpus.sources, len(corpus.quarantined), corpus.clips[""]) == (3, 3, 0)
    assert records(output) == before
    assert "Nothing." in (output / "report.html").read_text()
    for wrong in ("0/2", "3/2", "1", "a/b"):
        with pytest.raises(ConfigError, match="is no share; got"):
            build(raw, output, share=wrong)
