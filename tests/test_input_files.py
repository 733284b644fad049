"""Whatever a path names: a file's bytes, or one clear error, and never a wait without end."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import ConfigError, ImageError
from openemo.input_files import in_memory, open_input, read_in_bounds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices are of POSIX")


def read(path: Path, limits: DecodingLimits = DEFAULT_LIMITS) -> bytes:
    with open_input(path, "image", ImageError, limits) as file:
        return file.read()


def test_a_file_and_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    (tmp_path / "link").symlink_to("a")
    assert read(tmp_path / "a") == read(tmp_path / "link") == b"data"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/zero", "cannot read /dev/zero; got a device or a socket; expected a file"),
        ("/dev/null", "got a device"),
        ("/", "got a folder"),
        ("", "no image is named; got an empty name, or the working folder; expected a file. Give its path"),
        ("nowhere", "there is no image nowhere. Check the path"),
        ("/etc/passwd/x", "there is no image"),
        ("a\0b", "embedded null byte"),
        ("x" * 5_000, "File name too long"),
    ],
)
def test_what_is_no_file(path: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read(Path(path))


def test_links_in_a_circle_and_sockets(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ImageError, match="Too many levels of symbolic links"):
        read(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(ImageError, match="a device or a socket"):
            read(tmp_path / "socket")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """As `<(command)` gives it: the writer is slow, and writes more than a pipe holds."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = os.urandom(300_000)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for start in range(0, len(data), 100_000):
                time.sleep(0.05)
                pipe.write(data[start : start + 100_000])

    writer = threading.Thread(target=write)
    writer.start()
    assert read(path) == data
    writer.join()


def test_a_pipe_that_is_no_help(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ImageError, match=r"nothing is written to the pipe .*pipe; expected a file"):
        read(path)
    writer = os.open(path, os.O_RDWR)  # opens without a reader
    try:
        os.write(writer, b"abc")
        with pytest.raises(ImageError, match=r"does not end; got no data for 0\.1 s"):
            read(path, DecodingLimits(timeout_s=0.1))
        os.write(writer, bytes(2_000))
        with pytest.raises(
            ImageError, match=r"too large; got over 2,\d\d\d bytes; expected at most 1,000 bytes"
        ):
            read(path, DecodingLimits(max_file_bytes=1_000))
    finally:
        os.close(writer)


def test_a_sparse_file_costs_nothing(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(9 * 10**9)
    with open_input(tmp_path / "sparse", "image", ImageError, DEFAULT_LIMITS) as file:
        assert file.read(3) == bytes(3)


def test_in_memory() -> None:
    with in_memory(b"data") as file:
        assert os.fstat(file.fileno()).st_size == 4
        assert file.read() == b"data"


def test_reading_stops_at_the_limit() -> None:
    calls = iter(int, 1)  # zeros without end
    with pytest.raises(ImageError, match="the file x is too large"):
        read_in_bounds(lambda size: bytes(next(calls) + size), "x", ImageError, DEFAULT_LIMITS)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_limits_are_checked(wrong: float) -> None:
    with pytest.raises(ConfigError, match=r"`max_seconds` is out of range"):
        DecodingLimits(max_seconds=wrong)
