"""Jobs of a batch: read from a file, checked, and known by what they would make."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from openemo import __version__
from openemo.errors import ConfigError
from openemo.files import read_bounded, whole_file
from openemo.pipeline.video_options import VideoOptions
from openemo.settings import wrong_setting
from openemo.video.video_formats import find_format, is_picture_sequence

__all__ = ["BatchJob", "JobOptions", "read_jobs"]

_MOST_BYTES: Final = 2**28
_PATHS: Final = ("portrait", "audio", "motion_from", "motion_style_from")
_TEXTS: Final = (*_PATHS, "output", "emotion", "framing", "fps")
_RECORDS: Final = ".jobs"


class JobOptions(VideoOptions):
    """A line of a file of jobs.

    Attributes:
        portrait, audio, motion_from, motion_style_from: paths, from the folder of the file.
        output: name of the video in the folder of the batch; None makes one of number, portrait and sound.
    """

    portrait: str
    audio: str
    output: str | None = None
    motion_from: str | None = None
    motion_style_from: str | None = None


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One video to make.

    Attributes:
        name: of the video, from the folder of the batch.
        path: of the video.
        options: with paths that are complete.
    """

    name: str
    path: Path
    options: JobOptions

    @property
    def _record(self) -> Path:
        name = self.name.replace("/", "__")
        return self.path.parents[self.name.count("/")] / _RECORDS / f"{name}.json"

    def key(self, settings: dict[str, Any]) -> str:
        """Stands for all that decides what the video will be.

        Args:
            settings: of the batch, such as its model.
        """
        inputs = []
        for name in _PATHS:
            path = getattr(self.options, name)
            if path is not None and Path(path).exists():
                status = Path(path).stat()
                inputs.append((path, status.st_size, status.st_mtime_ns))
        told = (self.options.model_dump(), inputs, settings, __version__)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def is_done(self, key: str) -> bool:
        """Whether the video is there, and was begun for this key."""
        try:
            record, video = self._record.stat(), self.path.stat()
            return self._record.read_text() == key and video.st_mtime_ns >= record.st_mtime_ns
        except OSError:
            return False

    def begin(self, key: str) -> None:
        """Notes what the next video will be of. A video that is older than the note is of something else."""
        self._record.parent.mkdir(parents=True, exist_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self._record) as file:
            file.write(key.encode())


def read_jobs(path: Path, output: Path) -> list[BatchJob]:
    """The jobs of a .csv file with a header, or of a .jsonl file with an object in each line.

    Args:
        output: the folder of the batch.

    Raises:
        ConfigError: it cannot be read; a column is unknown or wrong; two jobs have one output.
    """
    lines = list(_lines(path))
    if not lines:
        raise ConfigError(f"there is no job in {path}", expected="a line for each video")
    jobs = [_job(path, number, values, output) for number, values in lines]
    twice = [name for name, count in Counter(job.name for job in jobs).items() if count > 1]
    if twice:
        raise ConfigError(f"two jobs of {path} have one output", got=twice[0], fix="Give each its own")
    return jobs


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and values."""
    try:
        text = read_bounded(path, _MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text", got=str(error)) from error
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(text.splitlines())
        for row in reader:
            if None in row:
                raise ConfigError(f"line {reader.line_num} of {path} has more fields than the header")
            yield reader.line_num, {name: _value(name, cell) for name, cell in row.items() if cell}
    elif path.suffix.lower() == ".jsonl":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _object(path, number, line)
    else:
        raise ConfigError("unknown kind of job file", got=path.name, expected="a .csv or .jsonl file")


def _value(name: str, cell: str) -> Any:
    """A cell as number or truth value, where the column is no text."""
    if name in _TEXTS:
        return cell
    try:
        return json.loads(cell.lower())
    except ValueError:
        return cell


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"line {number} of {path} is no JSON", got=str(error)) from error
    if not isinstance(values, dict):
        raise ConfigError(f"line {number} of {path} is no JSON object", got=type(values).__name__)
    return values


def _job(path: Path, number: int, values: dict[str, Any], output: Path) -> BatchJob:
    where = f"line {number} of {path}"
    try:
        options = JobOptions(**values)
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise ConfigError(
            f"{where}: `{wrong.name}` is wrong",
            got=repr(wrong.got),
            expected=wrong.expected,
            fix=f"The columns are {', '.join(JobOptions.model_fields)}" if wrong.is_unknown else None,
        ) from error
    told = {name: getattr(options, name) for name in _PATHS}
    complete = {name: str((path.parent / one).resolve()) for name, one in told.items() if one is not None}
    parts = (f"{number:05d}", Path(options.portrait).stem, Path(options.audio).stem)
    name = options.output or f"{'_'.join(parts)}.mp4"
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or _RECORDS in pure.parts:
        raise ConfigError(f"{where}: the output leaves the folder of the batch", got=name)
    if is_picture_sequence(Path(name)):
        raise ConfigError(f"{where}: the output is a folder of pictures", got=name, expected="a video file")
    find_format(Path(name), transparent=options.transparent)
    return BatchJob(str(pure), output / pure, options.model_copy(update=complete))
