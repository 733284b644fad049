"""The jobs of an evaluation, and the inputs that each figure depends on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import openemo
from openemo import checkpoints
from openemo.checkpoints.folder import HASHES_NAME, file_sha256
from openemo.errors import CheckpointError, InputError
from openemo.evaluation import rows
from openemo.evaluation.benchmark_clips import Clip, find_video
from openemo.evaluation.records import Inputs

__all__ = ["HARNESS_VERSION", "EvaluationSettings", "Job", "jobs_of", "require_video", "shown_video"]

HARNESS_VERSION: Final = 2
"""Raised when the same videos would get other figures. Reports of two versions do not compare."""

# Paths in the package. Parts of `evaluation` that only show figures: a change of them changes no figure.
SHOWING: Final = ("evaluation/report", "evaluation/metrics/confidence.py")
# Parts that make no video: a change of them changes no pixel.
NOT_MAKING: Final = ("evaluation", "training", "data", "cli")


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured and how. All clips and processes share it.

    Attributes:
        output: folder of the report.
        rows: rows of the table.
        model: name or folder of the model; None if `videos` is given.
        videos: folder of finished videos. silence_videos: folder of those made of digital silence.
        seeds: of the model's noise.
        sync_weights, fid_weights, fvd_weights, efid_weights: files of the networks behind published figures;
            None leaves the figure out.
        allow_torchscript: load the last three, which are programs that could do anything.
    """

    output: Path
    rows: tuple[str, ...]
    model: str | None = "embedded"
    videos: Path | None = None
    silence_videos: Path | None = None
    seeds: tuple[int, ...] = (0,)
    sync_weights: Path | None = None
    fid_weights: Path | None = None
    fvd_weights: Path | None = None
    efid_weights: Path | None = None
    allow_torchscript: bool = False
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def subject(self) -> str:
        """The row that is measured. The other rows are for comparison."""
        return rows.MODEL if self.videos is None else rows.VIDEOS


@dataclass(frozen=True)
class Job:
    """One row of one clip.

    Attributes:
        inputs: what the figures depend on.
        video: the file that is made for the row, and making: what it depends on; None if none is made.
    """

    row: str
    seed: int
    record: Path
    inputs: Inputs
    video: Path | None = None
    making: Inputs | None = None


def jobs_of(settings: EvaluationSettings, clip: Clip) -> list[Job]:
    """The jobs of a clip, in the order of measuring."""
    jobs = []
    for row in settings.rows:
        if row == rows.MISMATCHED and clip.voice is None:
            continue
        made = settings.videos is None and row in (rows.MODEL, rows.MISMATCHED, rows.SILENCE)
        for seed in settings.seeds if made else (0,):
            jobs.append(_job(settings, clip, row, seed, made))
    return jobs


def _job(settings: EvaluationSettings, clip: Clip, row: str, seed: int, made: bool) -> Job:
    name = f"{clip.name}.seed{seed}" if made else clip.name
    folder = settings.output / "rows" / row
    inputs: Inputs = {
        "row": row,
        "clip": clip.sha256,
        "voice": clip.voice_sha256 if row == rows.MISMATCHED else None,
        "harness": HARNESS_VERSION,
        "code": code_digest("evaluation", SHOWING),
    }
    if row == settings.subject:
        # Its figures of silence come from the row "silence".
        silence = finished_video(settings, clip, rows.SILENCE)
        inputs["with_silence"] = int(rows.SILENCE in settings.rows)
        inputs["silence_video"] = None if silence is None else _digest(silence)
    for given in ("sync_weights", "fid_weights", "fvd_weights", "efid_weights"):
        path: Path | None = getattr(settings, given)
        inputs[given] = None if path is None else _digest(path)
    if made:
        making: Inputs = {
            "clip": clip.sha256,
            "voice": {rows.MODEL: clip.sha256, rows.MISMATCHED: clip.voice_sha256}.get(row),
            "model": _model_digest(str(settings.model)),
            "seed": seed,
            "device": settings.device,
            "dtype": settings.dtype,
            "code": code_digest("", NOT_MAKING),
        }
        return Job(
            row,
            seed,
            folder / f"{name}.json",
            inputs | {f"made_{k}": v for k, v in making.items()},
            folder / f"{name}.mov",
            making,
        )
    if row not in (rows.REAL, rows.FROZEN):
        video = finished_video(settings, clip, row)
        inputs["video"] = None if video is None else _digest(video)
    return Job(row, seed, folder / f"{name}.json", inputs)


def finished_video(settings: EvaluationSettings, clip: Clip, row: str) -> Path | None:
    """The finished video of this row. In the row "mismatched" it is another clip's."""
    folder = settings.silence_videos if row == rows.SILENCE else settings.videos
    source = clip.voice if row == rows.MISMATCHED else clip.path
    return None if folder is None or source is None else find_video(folder, source)


def require_video(settings: EvaluationSettings, clip: Clip, row: str) -> Path:
    """The finished video of this row. Raises InputError if there is none."""
    path = finished_video(settings, clip, row)
    if path is None:
        raise InputError(
            f"there is no video for {clip.name} in the row {row}",
            expected=f"a file of the clip's name, such as {clip.path.stem}.mp4",
        )
    return path


def shown_video(settings: EvaluationSettings, clip: Clip) -> Path:
    """The subject's video of a clip, of the first seed."""
    job = next(job for job in jobs_of(settings, clip) if job.row == settings.subject)
    return job.video or require_video(settings, clip, job.row)


@lru_cache(maxsize=4)
def code_digest(part: str, without: tuple[str, ...]) -> str:
    """SHA-256 of the package's Python files under `part`, except those at or under the paths `without`."""
    package = Path(openemo.__file__).parent
    left_out = [package / path for path in without]
    digest = hashlib.sha256()
    for path in sorted((package / part).rglob("*.py")):
        if not any(path.is_relative_to(out) for out in left_out):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _digest(path: Path) -> str:
    return file_sha256(path)


@lru_cache(maxsize=4)
def _model_digest(name: str) -> str:
    """Hash of the checkpoint's list of hashes. Loading the model checks the list against its files."""
    path = checkpoints.resolve(name) / HASHES_NAME
    if not path.is_file():
        raise CheckpointError(
            "not a checkpoint", got=f"no {HASHES_NAME} in {path.parent}", fix="Check the path"
        )
    return file_sha256(path)
