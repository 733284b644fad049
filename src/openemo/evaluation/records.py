"""Records: the figures of one clip in one row as a JSON file, so that an interrupted run can continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from openemo.errors import OutputError
from openemo.evaluation.benchmark_clips import Clip
from openemo.files import read_bounded, whole_file

__all__ = ["Measured", "Record", "read_record", "write_json", "write_record"]

_MOST_BYTES = 64 * 2**20  # an hour of frames takes two

Inputs = dict[str, str | int | None]


class Record(BaseModel):
    """One clip in one row.

    Attributes:
        inputs: all that the figures depend on. If they change, the clip is measured again.
        values: figure by metric; None if it cannot be measured.
        opening: mouth opening of each frame over the face width; None in frames without a face.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: dict[str, str | int | None]
    values: dict[str, float | None] = {}
    opening: list[float | None] = []
    fps: float = 0.0


Measured = dict[Clip, dict[tuple[str, int], Record]]
"""The records of each clip by (row, seed), of clips that have all of them."""


def read_record(path: Path, inputs: Inputs) -> Record | None:
    """The record at `path`; None if it is missing, damaged or of other inputs."""
    try:
        record = Record.model_validate_json(read_bounded(path, _MOST_BYTES))
    except (OSError, ValidationError):
        return None
    return record if record.inputs == inputs else None


def write_record(path: Path, record: Record) -> None:
    """Write the whole file or nothing. Raises OutputError."""
    write_json(path, record.model_dump(mode="json"))


def write_json(path: Path, values: Any) -> None:
    """Write the whole file or nothing. Raises OutputError."""
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written", got=error.strerror) from error
