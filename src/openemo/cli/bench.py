"""`openemo bench`: how fast this machine makes videos, and where the time goes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Option

from openemo.cli.options import Engine, EngineName
from openemo.errors import ConfigError
from openemo.threads import num_cores, share_cores

if TYPE_CHECKING:
    from openemo.audio import Audio
    from openemo.pipeline.output import Frame

__all__ = ["bench"]

_TABLE: Final = (1, 2, 4)


def bench(
    size_px: Annotated[int, Option(help="Side of the video; the demo's portrait is enlarged.")] = 512,
    seconds: Annotated[float, Option(help="Length of the video.")] = 4.0,
    engine: Engine = "auto",
    cores: Annotated[
        int | None, Option(help="Measure with so many cores alone.", show_default="1, 2 and 4 in turn")
    ] = None,
    profile: Annotated[
        bool, Option("--profile", help="Processor time of each stage, one thread at a time.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the speed of the embedded model on this machine, from the call to the finished file.

    Close other programs first.
    """
    if cores is not None and not 1 <= cores <= num_cores():
        raise ConfigError("so many cores cannot be measured", got=cores, expected=f"1 to {num_cores()}")
    if profile:
        _print_profile(size_px, seconds, engine, as_json=as_json)
        return
    if cores is not None:
        rows = [_measured(cores, size_px, seconds, engine)]
    else:
        rows = [_in_own_process(count, size_px, seconds, engine) for count in _TABLE if count <= num_cores()]
    best = {name: rows[-1][name] for name in ("seconds_per_second", "first_frame_s", "peak_mib")}
    if as_json:
        print(json.dumps({**best, **_machine(), "size_px": size_px, "table": rows}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("cores", "s per s of video", "frames per s", "loading, s", "first frame, s", "peak, MiB")
    for row in rows:
        speed = row["seconds_per_second"]
        table.add_row(
            str(row["cores"]),
            f"{speed:.2f}",
            f"{row['fps'] / speed:.1f}",
            f"{row['load_s']:.2f}",
            f"{row['first_frame_s']:.2f}",
            str(row["peak_mib"]),
        )
    Console().print(table)
    print(f"{size_px} px, {seconds:g} s of video, engine {engine}, {_machine()['processor']}")


def _in_own_process(cores: int, size_px: int, seconds: float, engine: str) -> dict[str, Any]:
    """Libraries ask for the number of cores when they are loaded."""
    options = ["--cores", cores, "--size-px", size_px, "--seconds", seconds, "--engine", engine, "--json"]
    command = [sys.executable, "-m", "openemo", "bench", *map(str, options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    row: dict[str, Any] = json.loads(done.stdout)["table"][0]
    return row


def _measured(cores: int, size_px: int, seconds: float, engine: EngineName) -> dict[str, Any]:
    start_s = time.perf_counter()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    share_cores(cores)
    import resource
    from tempfile import TemporaryDirectory

    from openemo.pipeline import EmoPipeline
    from openemo.video.video_writer import VideoWriter

    pipeline = EmoPipeline.from_pretrained(engine=engine)
    image, audio = _inputs(size_px, seconds)
    loaded_s = time.perf_counter()
    list(pipeline(*_inputs(size_px, 0.5), size_px=size_px))  # the first run may compile networks
    called_s = time.perf_counter()
    animation = pipeline(image, audio, size_px=size_px)
    first_s = 0.0
    with (
        TemporaryDirectory() as folder,
        VideoWriter(
            Path(folder) / "video.mp4",
            fps=animation.fps,
            width=animation.width,
            height=animation.height,
            audio=audio,
        ) as writer,
    ):
        for frame in animation:
            first_s = first_s or time.perf_counter()
            writer.write(frame)
    done_s = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        2**20 if sys.platform == "darwin" else 2**10
    )
    return {
        "cores": cores,
        "seconds_per_second": round((done_s - called_s) / animation.duration_s, 3),
        "load_s": round(loaded_s - start_s, 3),
        "first_frame_s": round(first_s - called_s, 3),
        "peak_mib": peak,
        "fps": float(animation.fps),
    }


def _print_profile(size_px: int, seconds: float, engine: EngineName, *, as_json: bool) -> None:
    share_cores(2)  # one thread for each library
    from tempfile import TemporaryDirectory

    from openemo.pipeline import EmoPipeline
    from openemo.pipeline.stage_times import stage_times

    image, audio = _inputs(size_px, seconds)
    pipeline = EmoPipeline.from_pretrained(engine=engine)
    with TemporaryDirectory() as folder:
        stages = stage_times(pipeline, image, audio, Path(folder) / "video.mp4", size_px=size_px)
    count = pipeline.num_frames(audio, Fraction(pipeline.config.fps))
    rate = _matrix_rate()
    rows: list[dict[str, Any]] = [
        {
            "stage": stage.name,
            "per": "video" if stage.is_per_video else "frame",
            "ms": round(1000 * stage.seconds / (1 if stage.is_per_video else count), 2),
            "gflop": round(stage.flop / count / 1e9, 3),
            "floor_ms": round(1000 * stage.flop / count / rate, 2),
        }
        for stage in stages
    ]
    total = round(sum(row["ms"] for row in rows if row["per"] == "frame"), 1)
    if as_json:
        print(json.dumps({"frame_ms": total, "matrix_gflop_per_s": rate / 1e9, "stages": rows, **_machine()}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "per", "processor, ms", "GFLOP", "floor, ms")
    for row in rows:
        flop = (f"{row['gflop']:.2f}", f"{row['floor_ms']:.1f}") if row["gflop"] else ("", "")
        table.add_row(row["stage"], row["per"], f"{row['ms']:.1f}", *flop)
    Console().print(table)
    print(f"{total} ms a frame; floor: at the {rate / 1e9:.0f} GFLOP/s of a matrix product on one core")


def _matrix_rate() -> float:
    """FLOP per second of processor time, of a float32 matrix product."""
    import torch

    side = 1024
    a, b = torch.ones(side, side), torch.ones(side, side)
    spent = []
    for _ in range(5):
        start = time.process_time()
        torch.mm(a, b)
        spent.append(time.process_time() - start)
    return 2 * side**3 / min(spent)


def _inputs(size_px: int, seconds: float) -> tuple[Frame, Audio]:
    """The demo's portrait at this size, and its voice, repeated as often as needed."""
    from importlib.resources import as_file, files

    import cv2
    import numpy as np

    from openemo.audio import Audio, read_audio
    from openemo.video.images import read_image

    with as_file(files("openemo") / "assets") as assets:
        image, voice = read_image(assets / "demo_portrait.jpg"), read_audio(assets / "demo_voice.flac")
    image = np.asarray(cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.uint8)
    length = round(seconds * voice.sample_rate_hz)
    samples = np.tile(voice.samples, -(-length // voice.num_samples))[:, :length]
    return image, Audio(samples, voice.sample_rate_hz)


def _machine() -> dict[str, Any]:
    """What figures depend on."""
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": num_cores(),
        "versions": {name: version(name) for name in ("openemo", "torch", "opencv-python-headless", "av")},
    }
