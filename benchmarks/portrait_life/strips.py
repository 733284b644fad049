"""The part "strips": sheets of frames to look at."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.portrait_life.bench import Bench, Figures
from benchmarks.portrait_life.motion import SEED
from benchmarks.portrait_life.recordings import Recording, record
from openemo.arrays import Image
from openemo.face.landmarks import FACE_OVAL, face_width_px
from openemo.video.video_reader import read_frames

PEOPLE, EVERY, COLUMNS, TILE_PX = 5, 4, 10, 192
VIEW = 2.6  # sides of a tile, in face widths: with hair, shoulders and the wall beside them


def strips(bench: Bench) -> Figures:
    """Five strangers with one voice, every fourth frame; a sheet for each of them."""
    name, voice = next(iter(bench.voices().items()))
    sheets = []
    for path, picture in bench.strangers()[:PEOPLE]:
        video = bench.video(path, name)
        make = partial(bench.pipeline, picture, voice, seed=SEED)
        seen = record(make, voice, video, bench.pipeline.face_analyzer)
        target = bench.output / "strips" / f"{path.stem}-{name}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_sheet(target, video, seen)
        sheets.append(str(target.relative_to(bench.output)))
    return {"voice": name, "every": EVERY, "sheets": sheets}


def write_sheet(target: Path, video: Path, seen: Recording) -> None:
    """The square around the first frame's face in every fourth frame, ten in a row."""
    tiles = [tile(frame, seen) for index, frame in enumerate(read_frames(video)) if index % EVERY == 0]
    rows = math.ceil(len(tiles) / COLUMNS)
    tiles += [np.zeros_like(tiles[0])] * (rows * COLUMNS - len(tiles))
    sheet = np.concatenate(
        [np.concatenate(tiles[row * COLUMNS : (row + 1) * COLUMNS], axis=1) for row in range(rows)]
    )
    cv2.imwrite(str(target), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])


def tile(frame: Image, seen: Recording) -> Image:
    """The square, which stays inside the picture."""
    points = next(points for points in seen.points_px if np.isfinite(points).all())
    side = min(round(VIEW * face_width_px(points)), *frame.shape[:2])
    middle = points[list(FACE_OVAL), :2].mean(axis=0)
    most = np.array([frame.shape[1], frame.shape[0]]) - side
    x, y = np.clip(np.round(middle - side / 2), 0, most).astype(int).tolist()
    interpolation = cv2.INTER_AREA if side > TILE_PX else cv2.INTER_CUBIC
    part = frame[y : y + side, x : x + side]
    return np.asarray(cv2.resize(part, (TILE_PX, TILE_PX), interpolation=interpolation), np.uint8)
