"""Packs the clips of parts into WebDataset shards, and keeps the index of them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from openemo.corpus.build_folder import BuildFolder
from openemo.corpus.people import Split
from openemo.files import whole_file

__all__ = ["ENDINGS", "Packed", "facts_of", "pack", "read_packed", "write_index"]

ENDINGS: Final = ("mp4", "flac", "npz", "json")
"""Of the members of a clip, in their order."""
_NOT_IN_FACTS: Final = ("thumbnail", "identity", "sound_print", "reasons")
_MB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Packed:
    """A clip in a shard.

    Attributes:
        facts: what the JSON beside it says.
        shard: name of the shard.
    """

    facts: dict[str, Any]
    shard: str


def read_packed(folder: BuildFolder) -> Iterator[Packed]:
    """All clips that are in a shard, by the lists beside the shards.

    A list is written before its shard. One whose shard is missing is of a run that was killed, and counts as
    nothing.
    """
    for listed in sorted(folder.shards.glob("*.jsonl")):
        shard = listed.with_suffix(".tar")
        if not shard.exists():
            listed.unlink()
            continue
        with listed.open(encoding="utf-8") as lines:
            for line in lines:
                yield Packed(json.loads(line), shard.name)


def pack(
    clips: Iterable[tuple[dict[str, Any], Path]], split: Split, folder: BuildFolder, shard_mb: float
) -> int:
    """Writes clips into new shards of a split, and returns their number.

    Args:
        clips: facts of each clip, and the tar of its part.
    """
    folder.shards.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in folder.shards.glob(f"{split}-*.tar"))
    waiting: list[tuple[dict[str, Any], Path]] = []
    size = count = 0
    for facts, path in clips:
        waiting.append((facts, path))
        size += _size(path, facts["name"])
        count += 1
        if size >= shard_mb * _MB:
            _write(folder, f"{split}-{number:06d}", waiting)
            waiting, size, number = [], 0, number + 1
    if waiting:
        _write(folder, f"{split}-{number:06d}", waiting)
    return count


def write_index(folder: BuildFolder) -> int:
    """index.jsonl: the facts of all clips with the shard of each; their number."""
    count = 0
    with whole_file(folder.root / "index.jsonl") as file:
        for packed in read_packed(folder):
            file.write(json.dumps({**packed.facts, "shard": packed.shard}).encode() + b"\n")
            count += 1
    return count


def _size(path: Path, name: str) -> int:
    with tarfile.open(path) as tar:
        return sum(tar.getmember(f"{name}.{ending}").size for ending in ENDINGS[:-1])


def _write(folder: BuildFolder, name: str, clips: list[tuple[dict[str, Any], Path]]) -> None:
    with whole_file(folder.shards / f"{name}.jsonl") as file:
        for facts, _ in clips:
            file.write(json.dumps(facts).encode() + b"\n")
    with whole_file(folder.shards / f"{name}.tar") as file, ExitStack() as stack:
        shard = stack.enter_context(tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT))
        for facts, path in clips:
            with tarfile.open(path) as part:
                for ending in ENDINGS[:-1]:
                    member = part.getmember(f"{facts['name']}.{ending}")
                    shard.addfile(member, part.extractfile(member))
            _add(shard, f"{facts['name']}.json", json.dumps(facts).encode())


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    content: BinaryIO = io.BytesIO(data)
    shard.addfile(member, content)


def facts_of(record: dict[str, Any]) -> dict[str, Any]:
    """What of the record of a clip goes into its JSON."""
    return {name: value for name, value in record.items() if name not in _NOT_IN_FACTS}
