"""Opens what the user gave as a file that can be read in any order, and never waits for long."""

from __future__ import annotations

import os
import select
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

from openemo.decoding_limits import DecodingLimits
from openemo.errors import InputError

__all__ = ["in_memory", "open_input", "read_in_bounds", "too_large_file"]

_CHUNK_BYTES: Final = 2**20
# A named pipe is opened by its reader and its writer at about the same time.
_WRITER_PATIENCE_S: Final = 2.0


def open_input(path: Path, kind: str, failure: type[InputError], limits: DecodingLimits) -> BinaryIO:
    """The file `path`, for reading. What comes through a pipe is read to its end first.

    Args:
        kind: what it should be, such as "image"; for the errors.

    Raises:
        InputError, as the class `failure`: there is none, it may not be read, it is a folder or a device, or
            a pipe that nothing is written to.
    """
    if path == Path():  # an empty name, too
        got = "an empty name, or the working folder"
        raise failure(f"no {kind} is named", got=got, expected="a file", fix="Give its path, or leave it out")
    try:
        _check_kind(path.stat().st_mode, path, failure)  # opening a device can do something
        # Without O_NONBLOCK, opening a pipe without a writer waits forever.
        opened = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise failure(f"there is no {kind} {path}", fix="Check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise failure(f"cannot read {path}", got=reason, expected="a readable file") from error
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(opened, "rb")
    with os.fdopen(opened, "rb", buffering=0) as pipe:
        _check_kind(mode, path, failure)
        return in_memory(_through_pipe(pipe.fileno(), path, failure, limits))


def _check_kind(mode: int, path: Path, failure: type[InputError]) -> None:
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        got = "a folder" if stat.S_ISDIR(mode) else "a device or a socket"
        raise failure(f"cannot read {path}", got=got, expected="a file")


def in_memory(data: bytes) -> BinaryIO:
    """`data` as a file of the system, which another process can inherit. It has no name."""
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("input"), "w+b")
    else:
        file = cast("BinaryIO", tempfile.TemporaryFile("w+b"))  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.flush()
    file.seek(0)
    return file


def read_in_bounds(
    read: Callable[[int], bytes], name: str, failure: type[InputError], limits: DecodingLimits
) -> bytes:
    """All that `read` gives, up to `max_file_bytes`; beyond that it raises `failure`."""
    return _joined(iter(lambda: read(_CHUNK_BYTES), b""), name, failure, limits)


def _joined(chunks: Iterator[bytes], name: str, failure: type[InputError], limits: DecodingLimits) -> bytes:
    parts, size = [], 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > limits.max_file_bytes:
            raise too_large_file(name, f"over {size:,} bytes", failure, limits)
    return b"".join(parts)


def too_large_file(name: str, got: str, failure: type[InputError], limits: DecodingLimits) -> InputError:
    """The error for more than `max_file_bytes`."""
    expected = f"at most {limits.max_file_bytes:,} bytes"
    return failure(f"the file {name} is too large", got=got, expected=expected, fix="Save it smaller")


def _through_pipe(pipe: int, path: Path, failure: type[InputError], limits: DecodingLimits) -> bytes:
    chunks = _chunks(pipe, path, failure, limits.timeout_s)
    return _joined(chunks, str(path), failure, limits)


def _chunks(pipe: int, path: Path, failure: type[InputError], patience_s: float) -> Iterator[bytes]:
    """What is written to the pipe, until all its writers have closed it."""
    start_s, any_data = time.monotonic(), False
    while True:
        try:
            chunk = os.read(pipe, _CHUNK_BYTES)
        except BlockingIOError:  # there is a writer, which has written nothing new
            if not select.select([pipe], [], [], patience_s)[0]:
                got = f"no data for {patience_s:g} s"
                raise failure(f"the pipe {path} does not end", got=got, fix="Give a file") from None
            continue
        if chunk:
            any_data = True
            yield chunk
        elif any_data or time.monotonic() - start_s > _WRITER_PATIENCE_S:
            break
        else:
            time.sleep(0.02)
    if not any_data:
        raise failure(f"nothing is written to the pipe {path}", expected="a file", fix="Give a file")
