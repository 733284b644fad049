"""What a build reads: files of a folder, of a list, or of WebDataset shards."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from openemo.decoding_limits import DEFAULT_LIMITS
from openemo.errors import InputError
from openemo.files import temporary_folder
from openemo.input_files import open_input

__all__ = ["UNKNOWN_LICENCE", "SourceFile", "find_sources", "open_source"]

UNKNOWN_LICENCE: Final = "unknown"
_VIDEOS: Final = frozenset(
    f".{ending}"
    for ending in (
        *("3g2", "3gp", "asf", "avi", "dv", "f4v", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"),
        *("mts", "mxf", "nut", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv"),
    )
)
_LISTS: Final = (".txt", ".jsonl")
_MOST_LABEL_BYTES: Final = 2**20
_EXPECTED: Final = "a video, a folder of videos, a list (.txt, .jsonl), or WebDataset shards (.tar)"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A video file of its own, or one inside a shard.

    Attributes:
        path: of the video or of the shard. member: its name in the shard.
        offset: where the member begins in the shard. size, mtime_ns: how the file was when it was found.
        licence: as the user said.
    """

    path: str
    size: int
    mtime_ns: int
    licence: str = UNKNOWN_LICENCE
    member: str | None = None
    offset: int = 0

    @property
    def name(self) -> str:
        return self.path if self.member is None else f"{self.path}#{self.member}"

    def key(self) -> str:
        """Stands for the contents, as far as they can be known without reading them."""
        told = {name: value for name, value in asdict(self).items() if name != "licence"}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def find_sources(source: Path, licence: str = UNKNOWN_LICENCE) -> Iterator[SourceFile]:
    """Video files, in a fixed order.

    Args:
        source: a video; a folder, which is searched with all folders in it; a list of paths, relative to the
            list, one in a line, or as JSON objects {"path", "licence"}; a shard. Folders and lists may hold
            shards.
        licence: of files that do not say their own.

    A file that is missing or broken is given like the others: reading it fails, and is noted.

    Raises:
        InputError: there is no such source, or a line of a list is wrong.
    """
    if not source.exists():
        raise InputError(f"there is no source {source}", expected=_EXPECTED)
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in (*_VIDEOS, ".tar") and path.is_file():
                yield from _of_file(path, licence)
    elif source.suffix.lower() in _LISTS:
        yield from _of_list(source, licence)
    else:
        yield from _of_file(source, licence)


def _of_file(path: Path, licence: str) -> Iterator[SourceFile]:
    try:
        status = path.stat()
    except OSError:
        yield SourceFile(str(path), 0, 0, licence)  # whoever opens it says what is wrong
        return
    if path.suffix.lower() == ".tar":
        yield from _of_shard(path, status.st_mtime_ns, licence)
    else:
        yield SourceFile(str(path), status.st_size, status.st_mtime_ns, licence)


def _of_list(path: Path, licence: str) -> Iterator[SourceFile]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield from _of_line(path, number, line.strip(), licence)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the list {path} cannot be read", got=str(error), expected=_EXPECTED) from error


def _of_line(path: Path, number: int, line: str, licence: str) -> Iterator[SourceFile]:
    name = line
    if path.suffix.lower() == ".jsonl":
        try:
            said = json.loads(line)
            name, licence = said["path"], str(said.get("licence", licence))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"line {number} of {path} is wrong", got=line[:80], expected='{"path": ..., "licence": ...}'
            ) from error
    yield from _of_file(path.parent / name, licence)


def _of_shard(path: Path, mtime_ns: int, licence: str) -> Iterator[SourceFile]:
    """Videos of a shard; the JSON beside one may say its licence."""
    licences: dict[str, str] = {}
    videos: list[tarfile.TarInfo] = []
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                ending = Path(member.name).suffix.lower()
                if member.isfile() and ending in _VIDEOS:
                    videos.append(member)
                elif member.isfile() and ending == ".json" and member.size <= _MOST_LABEL_BYTES:
                    label = _label(shard.extractfile(member))
                    if isinstance(label.get("licence"), str):
                        licences[_stem(member.name)] = label["licence"]
    except (tarfile.TarError, OSError):
        if not videos:  # whoever opens it says that it is no video
            yield SourceFile(str(path), path.stat().st_size, mtime_ns, licence)
    for video in videos:
        said = licences.get(_stem(video.name), licence)
        yield SourceFile(str(path), video.size, mtime_ns, said, video.name, video.offset_data)


def _label(file: Any) -> dict[str, Any]:
    try:
        label = json.load(file)
    except (ValueError, RecursionError):
        return {}
    return label if isinstance(label, dict) else {}


def _stem(name: str) -> str:
    """What the members of one sample have in common, as WebDataset reads names."""
    folder, _, base = name.rpartition("/")
    return f"{folder}/{base.partition('.')[0]}"


@contextmanager
def open_source(source: SourceFile, scratch: Path) -> Iterator[BinaryIO]:
    """The video as a file of the system, which another process can inherit.

    Args:
        scratch: gets what is in a shard, as a file that is deleted afterwards.

    Raises:
        InputError: it cannot be read.
    """
    with open_input(Path(source.path), "video file", InputError, DEFAULT_LIMITS) as file:
        if source.member is None:
            yield file
            return
        with temporary_folder(scratch) as folder:
            copy = folder / "member"
            with copy.open("wb") as target:
                file.seek(source.offset)
                _copy(file, target, source.size)
            with copy.open("rb") as member:
                yield member


def _copy(file: BinaryIO, target: BinaryIO, size: int) -> None:
    shutil.copyfileobj(_Part(file, size), target)


class _Part:
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(self._left if count < 0 else min(count, self._left))
        self._left -= len(data)
        return data
