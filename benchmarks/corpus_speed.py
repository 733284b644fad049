"""What `openemo data build` costs: core-hours, memory at 1 and 10 times the source, workers, a large index.

    python benchmarks/corpus_speed.py --clips FOLDER -o FOLDER [--parts speed memory workers index]

`FOLDER` of clips has eight or more of 3 s, such as GRID's. Times are of processors, because a busy
machine makes any command wait.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.raw_videos.made_videos import make_raw_videos, write
from openemo.audio.audio_reader import Audio, read_audio
from openemo.corpus.build_folder import BuildFolder
from openemo.corpus.build_settings import BuildSettings
from openemo.corpus.collecting import collect
from openemo.video.video_reader import read_frames

PARTS = ("speed", "memory", "workers", "index")
REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--seconds", type=int, default=21, help="of the source of `memory`, and a tenth of it"
    )
    parser.add_argument("--index-clips", type=int, default=100_000)
    arguments = parser.parse_args()
    clips = sorted(arguments.clips.glob("*.mp4"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for part in arguments.parts:
        if part == "speed":
            speed(clips, arguments.output)
        elif part == "memory":
            memory(clips, arguments.output, arguments.seconds)
        elif part == "workers":
            workers(clips, arguments.output)
        else:
            index(arguments.output, arguments.index_clips)


def say(**figures: Any) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def long_video(path: Path, clips: list[Path], seconds: int) -> None:
    """Clips one after the other, again and again."""
    count = -(-seconds // 3)
    chosen = list(islice(cycle(clips), count))
    sounds = {clip: read_audio(clip) for clip in set(chosen)}
    rate_hz = next(iter(sounds.values())).sample_rate_hz
    length = 3 * rate_hz
    pieces = [np.zeros((1, length), np.float32) for _ in chosen]
    for piece, clip in zip(pieces, chosen, strict=True):
        samples = sounds[clip].mono().samples[:, :length]
        piece[:, : samples.shape[1]] = samples
    frames = (frame for clip in chosen for frame in read_frames(clip))
    write(path, frames, Audio(np.concatenate(pieces, axis=1), rate_hz))


def run(source: Path, output: Path, *options: str) -> dict[str, float]:
    """Builds in a process of its own: wall and processor seconds, and the peak of memory of all processes."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "openemo", "data", "build", str(source), "-o", str(output), *options]
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        peak: list[float] = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
        watcher.start()
        process.wait()
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_s": time.monotonic() - start_s,
        "cpu_s": cpu_s,
        "peak_mb": peak[0],
        "rc": process.returncode,
    }


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    """Memory of the process and of those it started, ten times a second: what they do not share."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(_own_mb(pid) for pid in _family(process.pid)))
        time.sleep(0.1)


def _family(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in _family(child))]


def _own_mb(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") / 2**20


def speed(clips: list[Path], output: Path) -> None:
    """Processor time of the parts alone, from their records, and of the whole command."""
    figures = run(clips[0].parent, output / "speed", "--workers", "1")
    records = [json.loads(path.read_bytes()) for path in (output / "speed/records").glob("*/*-*.json")]
    read_s, cpu_s = (sum(record[name] for record in records) for name in ("scanned_s", "cpu_s"))
    kept = sum(not clip["reasons"] for record in records for clip in record["clips"])
    say(
        part="speed",
        **figures,
        read_s=read_s,
        parts_cpu_s=cpu_s,
        hours_per_core_hour=read_s / cpu_s,
        clips_per_core_hour=3600 * kept / cpu_s,
    )


def memory(clips: list[Path], output: Path, seconds: int) -> None:
    for times in (1, 10):
        source = output / f"long{times}.mp4"
        long_video(source, clips, times * seconds)
        figures = run(source, output / f"memory{times}", "--workers", "1", "part_s=20", "size_px=256")
        say(part="memory", times=times, source_s=times * seconds, **figures)


def workers(clips: list[Path], output: Path) -> None:
    make_raw_videos(clips[1:8], output / "raw")
    for count in (1, 2):
        figures = run(output / "raw", output / "workers", "--workers", str(count), "size_px=256")
        say(part="workers", count=count, **figures)


def index(output: Path, count: int) -> None:
    """Collects made-up records, all packed already: what the driver does in a run without news."""
    folder = BuildFolder(output / "index")
    shutil.rmtree(folder.root, ignore_errors=True)
    folder.shards.mkdir(parents=True)
    rng = np.random.default_rng(0)
    people = rng.normal(size=(max(1, count // 100), 128)) * 0.1
    each = 30
    lines = []
    for start in range(0, count, each):
        made = [_clip(rng, people, number) for number in range(start, min(start + each, count))]
        lines += [{"name": clip["name"], "person": clip.pop("person"), "split": "train"} for clip in made]
        record = {"source": f"film{start}", "licence": "made", "part": 0, "span_s": [0, 300], "error": None}
        record |= {"clips": made, "scanned_s": 300, "faces_s": 250, "short_s": 10, "cpu_s": 300}
        path = folder.part_record(f"{start // each:08x}", 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    (folder.shards / "train-000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder.shards / "train-000000.tar").write_bytes(b"")
    before_s, before_mb = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    corpus = collect(folder, BuildSettings())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(
        part="index",
        clips=count,
        counted=corpus.clips[""],
        cpu_s=time.process_time() - before_s,
        mb=peak_mb - before_mb,
    )


def _clip(rng: np.random.Generator, people: Any, number: int) -> dict[str, Any]:
    person = int(rng.integers(len(people)))
    identity = (people[person] + rng.normal(size=128) * 0.01).astype(np.float16)
    print_ = rng.integers(0, 2**16, 175).astype(np.uint16)
    scores = {"face_px": 120.0, "yaw_deg": 4.0, "sync": 0.2, "shift_frames": 0, "sharpness": 30.0}
    return {
        "name": f"clip{number:09d}",
        "source": f"film{number // 30}",
        "licence": "made",
        "start_s": 0.0,
        "stop_s": 7.0,
        "scores": scores,
        "reasons": [],
        "thumbnail": "",
        "person": person,
        "identity": base64.b64encode(identity.tobytes()).decode(),
        "sound_print": base64.b64encode(print_.tobytes()).decode(),
    }


if __name__ == "__main__":
    main()
