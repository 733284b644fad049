"""Many videos: jobs are checked first, what is there is kept, and whatever is killed loses nothing done."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from openemo.errors import ConfigError, OutputError
from openemo.pipeline import EmoPipeline
from openemo.pipeline.batch_jobs import JobOptions, read_jobs
from openemo.pipeline.batch_processes import BatchReport, BatchSettings, run_batch
from openemo.video.video_reader import probe


def csv_of(folder: Path, *lines: str) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_arguments_of_a_call_with_their_defaults() -> None:
    arguments = inspect.signature(EmoPipeline.__call__).parameters
    own = set(JobOptions.model_fields) - {"output"}
    assert own == set(arguments) - {"self", "limits", "sandbox"}
    for name, field in JobOptions.model_fields.items():
        if name not in ("output", "portrait", "audio"):
            assert field.default == arguments[name].default, name


def test_a_table_and_lines_of_json_say_the_same(tmp_path: Path) -> None:
    table = csv_of(
        tmp_path,
        "portrait,audio,seed,size_px,fps,transparent,emotion,output",
        "faces/a.png,b.wav,3,256,25,TRUE,0:happy,",
        '"c d.jpg",007,,,30000/1001,,,sub/own.webm',
    )
    lines = tmp_path / "jobs.jsonl"
    first = {"portrait": "faces/a.png", "audio": "b.wav", "seed": 3, "size_px": 256, "fps": "25"}
    second = {"portrait": "c d.jpg", "audio": "007", "fps": "30000/1001", "output": "sub/own.webm"}
    first |= {"transparent": True, "emotion": "0:happy", "output": "00002_a_b.mov"}
    table.write_text(table.read_text().replace("0:happy,", "0:happy,00002_a_b.mov"))
    lines.write_text("\n".join(map(json.dumps, (first, second))))
    jobs, same = read_jobs(table, tmp_path / "out"), read_jobs(lines, tmp_path / "out")
    assert jobs == same
    assert jobs[0].options.portrait == str(tmp_path / "faces/a.png")
    assert jobs[1].path == tmp_path / "out/sub/own.webm"


def test_a_name_is_made_of_number_portrait_and_sound(tmp_path: Path) -> None:
    (job,) = read_jobs(csv_of(tmp_path, "portrait,audio", "faces/a.png,b.wav"), tmp_path)
    assert job.name == "00002_a_b.mp4"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("portrait,audio",), "no job"),
        (("portrait,sound", "a,b"), "`audio` is wrong"),
        (("portrait,audio,sede", "a,b,1"), "`sede` is wrong"),
        (("portrait,audio,seed", "a,b,one"), "line 2"),
        (("portrait,audio", "a,b,c"), "more fields"),
        (("portrait,audio,output", "a,b,../c.mp4"), "leaves the folder"),
        (("portrait,audio,output", "a,b,/c.mp4"), "leaves the folder"),
        (("portrait,audio,output", "a,b,c/%05d.png"), "folder of pictures"),
        (("portrait,audio,output", "a,b,c.mp4", "a,b,c.mp4"), "one output"),
    ],
)
def test_wrong_jobs_are_refused_before_any_is_made(lines: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        read_jobs(csv_of(tmp_path, *lines), tmp_path)


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        read_jobs(csv_of(tmp_path, "portrait,audio,output", "a,b,c.txt"), tmp_path)
    (tmp_path / "jobs.txt").write_text("")
    with pytest.raises(ConfigError, match="unknown kind of job file"):
        read_jobs(tmp_path / "jobs.txt", tmp_path)


@pytest.mark.slow
def test_killed_runs_lose_nothing_done(tiny_dir: Path, portrait_path: Path, tmp_path: Path) -> None:
    voice = tmp_path / "voice.wav"
    wavfile.write(voice, 16_000, np.random.default_rng(4).normal(0, 3000, 9_600).astype(np.int16))
    output, common = tmp_path / "out", f"{portrait_path},{voice},crop,64,1"
    table = csv_of(
        tmp_path,
        "portrait,audio,framing,size_px,num_inference_steps,seed,output",
        *(f"{common},{seed},{seed}.mp4" for seed in range(3)),
        f"missing.png,{voice},crop,64,1,0,missing.mp4",
    )
    command = [sys.executable, "-m", "openemo", "batch", str(table), "-o", str(output)]
    running = subprocess.Popen([*command, "--model", str(tiny_dir), "--workers", "1"], start_new_session=True)
    while not (output / "0.mp4").exists():
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    first = (output / "0.mp4").stat().st_mtime_ns
    killed: list[object] = []

    def kill_once(done: int, total: int) -> None:
        if not killed and 0 < done < total:
            (child,) = multiprocessing.active_children()
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            killed.append(child)

    def run() -> BatchReport:
        settings = BatchSettings(model=str(tiny_dir))
        return run_batch(read_jobs(table, output), output, workers=1, settings=settings, progress=kill_once)

    report = run()
    assert killed
    assert "0.mp4" in report.kept
    assert sorted(report.done + report.kept) == ["0.mp4", "1.mp4", "2.mp4"]
    assert [name for name, _ in report.failed] == ["missing.mp4"]
    assert (output / "0.mp4").stat().st_mtime_ns == first
    assert {probe(output / f"{seed}.mp4").num_frames for seed in range(3)} == {15}
    # Only what is asked for in another way is made anew.
    table.write_text("\n".join(table.read_text().splitlines()[:4]).replace("crop,64,1,2,", "crop,96,1,2,"))
    report = run()
    assert (report.done, report.kept, report.failed) == (["2.mp4"], ["0.mp4", "1.mp4"], [])
    assert not [path for path in output.iterdir() if path.name.startswith(".") and path.name != ".jobs"]
    tried = [json.loads(line) for line in (output / "batch.jsonl").read_text().splitlines()]
    assert {one["output"] for one in tried if one["error"]} == {"missing.mp4"}
