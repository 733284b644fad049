"""What has to be measured, and what each figure depends on."""

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
from openemo.evaluation.clips import Clip, find_video
from openemo.evaluation.records import Inputs

__all__ = ["HARNESS_VERSION", "Job", "Settings", "jobs_of", "require_video", "shown_video"]

HARNESS_VERSION: Final = 1
"""Raised when a figure would come out differently for the same videos; two versions do not compare."""

# Code that shows figures, and does not make them.
_SHOWING: Final = {
    "command.py",
    "compare.py",
    "page.py",
    "plots.py",
    "report.py",
    "statistics.py",
    "summary.py",
}


@dataclass(frozen=True)
class Settings:
    """What is measured, how; the same for all clips and processes.

    Attributes:
        output: folder of the report.
        model: name or folder of the model; None when `videos` is given.
        videos: folder of finished videos; silence_videos: of those that were made of digital silence.
        rows: which rows of the table.
        seeds: of the model's noise.
        sync_weights, fid_weights, fvd_weights, efid_weights: files of the networks that published figures
            are made with; None leaves the figure out.
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
    device: str = "cpu"
    dtype: str = "float32"

    @property
    def subject(self) -> str:
        """The row that is measured; the others are there to compare with."""
        return rows.MODEL if self.videos is None else rows.VIDEOS


@dataclass(frozen=True)
class Job:
    """One row of one clip. `video` is the file that is made for it, of `making`; None where none is made."""

    row: str
    seed: int
    record: Path
    inputs: Inputs
    video: Path | None = None
    making: Inputs | None = None


def jobs_of(settings: Settings, clip: Clip) -> list[Job]:
    """In the order in which they are measured."""
    jobs = []
    for row in settings.rows:
        if row == rows.MISMATCHED and clip.voice is None:
            continue
        made = settings.videos is None and row in (rows.MODEL, rows.MISMATCHED, rows.SILENCE)
        for seed in settings.seeds if made else (0,):
            jobs.append(_job(settings, clip, row, seed, made))
    return jobs


def _job(settings: Settings, clip: Clip, row: str, seed: int, made: bool) -> Job:
    name = f"{clip.name}.seed{seed}" if made else clip.name
    folder = settings.output / "rows" / row
    inputs: Inputs = {
        "row": row,
        "clip": clip.sha256,
        "voice": clip.voice_sha256 if row == rows.MISMATCHED else None,
        "harness": HARNESS_VERSION,
        "code": _code_digest("evaluation"),
    }
    if row == settings.subject:
        # Its figures of silence come from the row "silence".
        quiet = finished_video(settings, clip, rows.SILENCE)
        inputs["with_silence"] = int(rows.SILENCE in settings.rows)
        inputs["silence_video"] = None if quiet is None else _digest(quiet)
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
            "code": _code_digest(""),
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


def finished_video(settings: Settings, clip: Clip, row: str) -> Path | None:
    """The video that came from elsewhere for this row; another clip's in the row "mismatched"."""
    folder = settings.silence_videos if row == rows.SILENCE else settings.videos
    source = clip.voice if row == rows.MISMATCHED else clip.path
    return None if folder is None or source is None else find_video(folder, source)


def require_video(settings: Settings, clip: Clip, row: str) -> Path:
    """The same. Raises InputError where there is none."""
    path = finished_video(settings, clip, row)
    if path is None:
        raise InputError(
            f"there is no video for {clip.name} in the row {row}",
            expected=f"a file of the clip's name, such as {clip.path.stem}.mp4",
        )
    return path


def shown_video(settings: Settings, clip: Clip) -> Path:
    """The subject's video of a measured clip, with the first seed."""
    job = next(job for job in jobs_of(settings, clip) if job.row == settings.subject)
    return job.video or require_video(settings, clip, job.row)


@lru_cache(maxsize=4)
def _code_digest(part: str) -> str:
    """Hash of the source files that make videos, or of those in `evaluation` that measure them."""
    package = Path(openemo.__file__).parent
    if part:
        files = [path for path in (package / part).rglob("*.py") if path.name not in _SHOWING]
    else:
        beside = {"evaluation", "training", "data", "cli.py", "console.py", "demo.py"}
        files = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in beside]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _digest(path: Path) -> str:
    return file_sha256(path)


@lru_cache(maxsize=4)
def _model_digest(name: str) -> str:
    """Of the list of hashes, which is compared with the files when the model is loaded."""
    path = checkpoints.resolve(name) / HASHES_NAME
    if not path.is_file():
        raise CheckpointError(
            "not a checkpoint", got=f"no {HASHES_NAME} in {path.parent}", fix="Check the path"
        )
    return file_sha256(path)
