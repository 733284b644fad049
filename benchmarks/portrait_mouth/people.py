"""Strangers by their mouth at rest, and videos of them that are made once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.portrait_life.bench import SIZE_PX, Bench
from benchmarks.portrait_life.motion import SEED
from benchmarks.portrait_life.recordings import Recording, record
from openemo.audio.audio_reader import Audio
from openemo.evaluation.metrics.viseme_shapes import mouth_measures

Stranger = tuple[Path, NDArray[np.uint8]]


def speaking(bench: Bench, person: Stranger, name: str, voice: Audio) -> Recording:
    """The square around a stranger's face, 256 px, with one voice; kept as `name` in the folder `mouths`."""
    _, picture = person
    video = video_of(bench, person, name)
    make = partial(bench.pipeline, picture, voice, seed=SEED, framing="crop", size_px=SIZE_PX, fps=25)
    return record(make, voice, video, bench.pipeline.face_analyzer)


def video_of(bench: Bench, person: Stranger, name: str) -> Path:
    return bench.output / "mouths" / f"{person[0].stem}-{name}.mp4"


def opening_of(seen: Recording) -> np.ndarray:
    return mouth_measures(seen.points_px)[:, 0]
