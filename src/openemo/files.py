"""Files and folders that are complete or absent, and JSON files that hold settings."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from openemo.errors import CheckpointError, OutputError

if sys.platform != "win32":
    import fcntl

__all__ = [
    "check_fresh_folder",
    "fresh_folder",
    "lock_file",
    "partial_file",
    "read_bounded",
    "read_json",
    "remove_leftovers",
    "temporary_folder",
    "try_to_write",
    "whole_file",
]

_PARTIAL = re.compile(r"\.openemo-[0-9a-f]{16}\.partial(\.\w+)?")
_SECONDS_BETWEEN_LOOKS = 60.0
_looked_at: dict[Path, float] = {}  # by folder, when it was searched for leftovers

_MAX_JSON_BYTES = 8 * 2**20  # index files of large models have one; settings a few kB


@contextmanager
def partial_file(path: Path, *, ending: str = "") -> Iterator[Path]:
    """A new hidden file beside `path`. It replaces `path` only when the block has ended without an error.

    Until then it has another name and ending, so that a search for files of this kind does not find an
    incomplete one. An error deletes it. A symbolic link stays, and its target is replaced. A lock on the file
    shows that its run lives: what killed runs left in the folder is removed first.

    Args:
        ending: of the hidden file, such as ".mp4", for libraries that go by it.

    Yields:
        the empty file, to be opened for writing by its name.
    """
    target = Path(os.path.realpath(path))
    remove_leftovers(target.parent)
    partial, lock = _locked(target.parent, ending, _new_file)
    try:
        yield partial
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing, which replaces `path` when the block ends. See `partial_file`."""
    with partial_file(path) as partial, partial.open("wb") as file:
        yield file
        file.close()  # before it gets its name


def check_fresh_folder(output: Path) -> None:
    """Raises OutputError if `output` exists and is not an empty folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError("the output is there already", got=output, fix="Delete it, or choose another name")


@contextmanager
def fresh_folder(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output`. It becomes `output` when the block ends; an error deletes it.

    What killed runs left beside it is removed first.

    Raises:
        OutputError: `output` exists and is not an empty folder, or cannot be written.
    """
    check_fresh_folder(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output.parent)
        partial, lock = _locked(output.parent, "", _new_folder)
        try:
            yield partial
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if lock is not None:
                os.close(lock)
    except OSError as error:
        raise OutputError(f"{output} cannot be written", got=error.strerror or error) from error


@contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent` for this user alone, deleted when the block ends.

    What killed runs left beside it is removed first.

    Raises:
        OutputError: it cannot be made.
    """
    remove_leftovers(parent)
    try:
        folder, lock = _locked(parent, "", _new_folder)
        folder.chmod(0o700)
    except OSError as error:
        raise OutputError(f"no folder can be made in {parent}", got=error.strerror or error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def lock_file(path: Path) -> int | None:
    """A lock on a file, which is made if needed, until it is closed or the process ends; None if it is taken.

    Windows has no such locks: there it is never taken.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    if sys.platform == "win32" or _lock(lock):
        return lock
    os.close(lock)
    return None


def try_to_write(folder: Path) -> None:
    """Raises OSError where no file of 4 kB can be written into a folder. Leaves nothing."""
    partial, lock = _locked(folder, "", _new_file)
    try:
        partial.write_bytes(bytes(4096))
    finally:
        partial.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers(folder: Path) -> None:
    """Deletes the hidden partial files and folders of runs that were killed; those of runs that live stay.

    Looks at a folder once a minute at most, because thousands of files may be written into one. Windows has
    no such locks: there nothing is removed.
    """
    now = time.monotonic()
    if sys.platform == "win32" or now - _looked_at.get(folder, -math.inf) < _SECONDS_BETWEEN_LOOKS:
        return
    _looked_at[folder] = now
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if _PARTIAL.fullmatch(entry.name)]
    except OSError:
        return
    for path in found:
        with suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _lock(lock):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(lock)


def _locked(folder: Path, ending: str, make: Callable[[Path], int | None]) -> tuple[Path, int | None]:
    """A new hidden file or folder, and the descriptor with its lock.

    Another run may take it for a leftover before it has the lock. Then it is made again.
    """
    while True:
        path = folder / f".openemo-{secrets.token_hex(8)}.partial{ending}"
        lock = make(path)
        if lock is None or (_lock(lock) and path.exists()):
            return path, lock
        os.close(lock)


def _new_file(path: Path) -> int | None:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    if sys.platform == "win32":  # it renames no open files
        os.close(lock)
        return None
    return lock


def _new_folder(path: Path) -> int | None:
    path.mkdir()
    return None if sys.platform == "win32" else os.open(path, os.O_RDONLY)


def _lock(descriptor: int) -> bool:
    """Takes a lock that ends with the process. False where another has it, or where there are no locks."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The contents of an ordinary file. Devices and pipes, which may never end, are refused.

    Raises:
        OSError: it cannot be read, is no ordinary file, or is larger.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not an ordinary file", str(path))
    if status.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"too large for a settings file: {status.st_size} bytes", str(path))
    return path.read_bytes()


def read_json(path: Path, *, fix: str | None = None, infinity: bool = False) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint.

    Args:
        infinity: accept the numbers Infinity and -Infinity, which some schedulers have.

    Raises:
        CheckpointError: it is missing, over 8 MB, damaged, not an object, has a key twice, or a number that
            is none.
    """

    def constant(name: str) -> float:
        if name == "NaN" or not infinity:
            raise ValueError(f"{name} is no number for a setting")
        return float(name)

    try:
        text = read_bounded(path, _MAX_JSON_BYTES)
        values = json.loads(text, parse_constant=constant, object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path} cannot be read", got=reason, fix=fix) from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path} is wrong", got=type(values).__name__, expected="a JSON object", fix=fix
        )
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r} is there twice")
    return values
