"""Where a build keeps what, and the records of what is done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openemo.corpus.source_files import SourceFile
from openemo.files import whole_file

__all__ = ["BuildFolder", "note_failure", "said_of", "save_record"]


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """Where a build keeps what."""

    root: Path

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def records(self) -> Path:
        return self.root / "records"

    def source_record(self, key: str) -> Path:
        """Says that all of a file is done."""
        return self.records / key[:2] / f"{key}.json"

    def part_record(self, key: str, part: int) -> Path:
        return self.records / key[:2] / f"{key}-{part:05d}.json"

    def part_clips(self, key: str, part: int) -> Path:
        """The clips of a part, until they are in a shard."""
        return self.root / "parts" / key[:2] / f"{key}-{part:05d}.tar"


def note_failure(source: SourceFile, folder: BuildFolder, reason: str) -> None:
    """Notes that nothing can be made of a file."""
    save_record(folder.source_record(source.key()), {**said_of(source), "parts": 0, "error": reason})


def said_of(source: SourceFile) -> dict[str, Any]:
    """What a record says of the file."""
    return {"source": source.name, "licence": source.licence}


def save_record(path: Path, record: dict[str, Any]) -> None:
    """Writes it whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        file.write(json.dumps(record).encode())
