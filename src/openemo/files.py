"""Files and folders that are complete or absent, and JSON files that hold settings."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from openemo.errors import CheckpointError, OutputError

__all__ = ["check_fresh_folder", "fresh_folder", "read_json", "whole_file"]

_MAX_JSON_BYTES = 64 * 2**20


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing. It replaces `path` only when the block has ended without an error.

    Until then it has another name and ending, so that a search for files of this kind does not find an
    incomplete one. An error deletes it. A symbolic link stays, and its target is replaced.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_fresh_folder(output: Path) -> None:
    """Raises OutputError if `output` exists and is not an empty folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError("the output is there already", got=output, fix="Delete it, or choose another name")


@contextmanager
def fresh_folder(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output`. It becomes `output` when the block ends; an error deletes it.

    Raises:
        OutputError: `output` exists and is not an empty folder, or cannot be written.
    """
    check_fresh_folder(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
        try:
            yield partial
            partial.chmod(0o755)  # mkdtemp's folders are readable by one user only
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be written", got=error.strerror or error) from error


def read_json(path: Path, *, fix: str | None = None) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Raises:
        CheckpointError: it is missing, over 64 MB, damaged, or not an object.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path} is too large for a settings file", got=f"{size} bytes", fix=fix)
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path} cannot be read", got=reason, fix=fix) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path} is wrong", got=type(values).__name__, expected="a JSON object", fix=fix
        )
    return values
