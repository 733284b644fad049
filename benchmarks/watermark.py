"""Measures the watermark: what it survives, how often it is seen where none is, and what it costs.

    python benchmarks/watermark.py --data ../shared/data -o out/watermark
    python benchmarks/watermark.py --parts false_alarms --data ../shared/data -o out/watermark

`attacks` marks filmed clips (GRID, 360x288) and photos of 512 px whose middle sways, and does to them what is
done to videos. `false_alarms` looks for a mark in clips and photos without one. What is measured is kept in
the folder; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np

from openemo.arrays import Image
from openemo.errors import OpenEmoError
from openemo.provenance.watermark import Watermark
from openemo.provenance.watermark_detection import LEAST_SCORE, find_watermark
from openemo.video.images import read_image
from openemo.video.video_reader import read_frames

MARK_ID: Final = 0x5EED1234
FRAMES: Final = 25
LOOKED_AT: Final = 5  # every fifth frame
SIDE_PX: Final = 512
LEAST_PX: Final = 400  # shorter side of a photo that is shown at 512
MASTER: Final = (15, "veryfast")  # as openemo writes


def h264(frames: Sequence[Image], crf: int, preset: str = "medium", fps: int = 25) -> list[Image]:
    """The frames, compressed and decoded."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "preset": preset})
        height, width = (length - length % 2 for length in frames[0].shape[:2])
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame in frames:
            even = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as source:
        return [np.asarray(one.to_ndarray(format="rgb24"), np.uint8) for one in source.decode(video=0)]


def resized(frames: Sequence[Image], scale: float) -> list[Image]:
    return [
        np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        for frame in frames
    ]


def cropped(frames: Sequence[Image]) -> list[Image]:
    """A tenth of the height and of the width less, from all sides unevenly."""
    height, width = frames[0].shape[:2]
    top, left = round(0.07 * height), round(0.06 * width)
    return [frame[top : top + round(0.9 * height), left : left + round(0.9 * width)] for frame in frames]


def retimed(frames: Sequence[Image]) -> list[Image]:
    """30 frames per second, some of them twice."""
    return [frames[min(index * 25 // 30, len(frames) - 1)] for index in range(len(frames) * 30 // 25)]


ATTACKS: Final[dict[str, Callable[[list[Image]], list[Image]]]] = {
    "as written (crf 15)": lambda frames: frames,
    "H.264 at crf 28": lambda frames: h264(frames, 28),
    "half size": lambda frames: h264(resized(frames, 0.5), 18),
    "a tenth cropped": lambda frames: h264(cropped(frames), 18),
    "30 fps": lambda frames: h264(retimed(frames), 18, fps=30),
    "half size, crf 28": lambda frames: h264(resized(frames, 0.5), 28),
    "half size, cropped, 30 fps, crf 28": lambda frames: h264(
        retimed(cropped(resized(frames, 0.5))), 28, fps=30
    ),
    "one frame, mirrored, 80 %": lambda frames: [
        np.ascontiguousarray(frame[:, ::-1]) for frame in resized(frames[:1], 0.8)
    ],
}


def swaying(photo: Image) -> list[Image]:
    """A photo as a video of 512 px whose middle sways before what is around it, as in a video of openemo."""
    short = min(photo.shape[:2])
    square = cv2.resize(photo[:short, :short], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    down, right = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float32)
    middle = np.exp(-((down - SIDE_PX / 2) ** 2 + (right - SIDE_PX / 2) ** 2) / (2 * (SIDE_PX / 5) ** 2))
    sways = 6 * np.sin(2 * np.pi * np.arange(FRAMES) / FRAMES)
    return [
        np.asarray(cv2.remap(square, right + np.float32(sway) * middle, down, cv2.INTER_CUBIC), np.uint8)
        for sway in sways
    ]


def evenly(paths: Sequence[Path], count: int) -> list[Path]:
    """Some of them, from the first to the last."""
    return [paths[index * len(paths) // count] for index in range(min(count, len(paths)))]


def measure(path: Path, jobs: Iterator[tuple[str, Callable[[], dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Runs what is not in the file yet, a line each."""
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    names = {row["name"] for row in done}
    with path.open("a") as file:
        for name, job in jobs:
            if name not in names:
                row = {"name": name, **job()}
                done.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
    return done


def large_photos(data: Path, count: int) -> list[Path]:
    found = []
    for path in sorted((data / "portraits/historic").glob("*.jpg")):
        if min(read_image(path).shape[:2]) >= LEAST_PX:
            found.append(path)
        if len(found) == count:
            break
    return found


def attack_jobs(data: Path, count: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    def job(path: Path, kind: str) -> dict[str, Any]:
        is_photo = path.suffix == ".jpg"
        frames = swaying(read_image(path)) if is_photo else list(islice(read_frames(path), FRAMES))
        watermark = Watermark(MARK_ID)
        marked = [watermark.mark(frame) for frame in frames]
        error = np.mean((marked[0].astype(float) - frames[0]) ** 2)
        row: dict[str, Any] = {"kind": kind, "psnr_db": float(10 * np.log10(255**2 / error)), "scores": {}}
        master = h264(marked, *MASTER)
        for name, attack in ATTACKS.items():
            reading = find_watermark(attack(master)[::LOOKED_AT])
            row["scores"][name] = reading.score if reading.mark_id == MARK_ID else None
        return row

    photos = large_photos(data, count)
    clips = evenly(sorted((data / "grid/s1").glob("*.mp4")), count)
    for photo, clip in zip(photos, clips, strict=False):
        yield photo.name, partial(job, photo, "photo, 512x512")
        yield clip.name, partial(job, clip, "GRID, 360x288")


def unmarked_jobs(data: Path, count: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    def job(path: Path) -> dict[str, Any]:
        is_photo = path.suffix == ".jpg"
        reading = find_watermark([read_image(path)] if is_photo else islice(read_frames(path), 0, 60, 20))
        return {
            "kind": "photo" if is_photo else "clip",
            "found": reading.mark_id is not None,
            "score": reading.score,
        }

    photos = evenly(sorted((data / "portraits").rglob("*.jpg")), 2 * count // 3)
    clips = evenly(sorted((data / "grid").rglob("*.mp4")), count - len(photos))
    for pair in zip_longest(photos, clips):
        for path in pair:
            if path is not None:
                yield path.name, partial(job, path)


def cost_jobs(data: Path, count: int) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    def job(side_px: int) -> dict[str, Any]:
        photo = read_image(large_photos(data, 1)[0])[:400, :400]
        frame = np.asarray(cv2.resize(photo, (side_px, side_px)), np.uint8)
        watermark = Watermark(MARK_ID)
        start_s = time.process_time()
        watermark.mark(frame)
        first_s = time.process_time()
        for _ in range(count):
            watermark.mark(frame)
        return {"first_ms": 1000 * (first_s - start_s), "ms": 1000 * (time.process_time() - first_s) / count}

    for side_px in (512, 1080):
        yield f"{side_px} px", partial(job, side_px)


def attacks_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for kind in sorted({row["kind"] for row in rows}):
        chosen = [row for row in rows if row["kind"] == kind]
        psnr = [row["psnr_db"] for row in chosen]
        yield f"\n{kind}: {len(chosen)} videos, PSNR {min(psnr):.1f} to {max(psnr):.1f} dB"
        yield "| | found | score, least and median |\n|---|---|---|"
        for name in ATTACKS:
            scores = [row["scores"][name] for row in chosen if row["scores"][name] is not None]
            spread = f"{min(scores):.1f}, {np.median(scores):.1f}" if scores else "-"
            yield f"| {name} | {len(scores)} of {len(chosen)} | {spread} |"


def unmarked_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    scores = np.array([row["score"] for row in rows])
    low, middle, high = np.percentile(scores, (1, 50, 99))
    found = sum(row["found"] for row in rows)
    yield f"\n{len(rows)} photos and clips without a mark: found in {found}"
    yield f"score: 1 % {low:.2f}, median {middle:.2f}, 99 % {high:.2f}, highest {scores.max():.2f}"
    yield f"a mark counts from {LEAST_SCORE} on, where its checksum is right"


def cost_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield f"{row['name']}: {row['ms']:.2f} ms of processor time a frame, {row['first_ms']:.0f} ms once"


def main() -> None:
    parts = {
        "attacks": (attack_jobs, attacks_table, 20),
        "false_alarms": (unmarked_jobs, unmarked_table, 600),
        "cost": (cost_jobs, cost_table, 50),
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with portraits and grid")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--count", type=int, help="videos of each kind, pictures, or frames")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if not (options.data / "portraits").is_dir():
        raise SystemExit(f"there are no portraits in {options.data}")
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.parts:
        jobs, show, count = parts[name]
        try:
            rows = measure(options.output / f"{name}.jsonl", jobs(options.data, options.count or count))
        except OpenEmoError as error:
            raise SystemExit(str(error)) from error
        sys.stdout.write("\n".join(show(rows)) + "\n")


if __name__ == "__main__":
    main()
