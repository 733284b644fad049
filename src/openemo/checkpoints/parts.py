"""What an import makes: parts in our own names, and a record of where they came from. Whole or not at all.

source.json      format, licence, files with their SHA-256, and what of them was left over, with the reason
SHA256SUMS       hash of every file below
unet/ ...        config.json and safetensors, as in a checkpoint folder
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from openemo.errors import CheckpointError, OutputError

__all__ = [
    "SOURCE_NAME",
    "Imported",
    "Part",
    "SourceRecord",
    "fresh_folder",
    "read_source",
    "some",
    "write_part",
    "write_parts",
]

SOURCE_NAME = "source.json"


@dataclass(frozen=True)
class Part:
    """One network in our own names.

    Attributes:
        folder: its place in the checkpoint.
        kind: class that reads it.
        config: that class's arguments.
        state: exactly the tensors that the class has.
        file_name: "diffusion_pytorch_model.safetensors" for diffusers' networks, "model.safetensors" for
            transformers'.
        extra_json: further small files, by name.
    """

    folder: str
    kind: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    file_name: str = "diffusion_pytorch_model.safetensors"
    extra_json: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """What a format's reader found: parts, the files that it read, and reasons for each key not used."""

    parts: tuple[Part, ...]
    left_over: dict[str, str]
    files: tuple[Path, ...]


class SourceRecord(BaseModel):
    """Contents of `source.json`.

    Attributes:
        format: as in `openemo weights import FORMAT`.
        components: class name of each part, by its folder's name.
        licence: of the weights.
        commercial: whether that licence allows commercial use.
        hub: "owner/name" where the files came from a hub; None where the user brought them.
        revision: commit of the hub's repository.
        files: SHA-256 of each file that was read, by its path below what was given.
        left_over: key of the source -> why nothing here uses it.
        version: of openemo.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str
    components: dict[str, str]
    licence: str
    commercial: bool
    hub: str | None
    revision: str | None
    files: dict[str, str]
    left_over: dict[str, str]
    version: str


def read_source(folder: Path) -> SourceRecord:
    """Raises CheckpointError when `source.json` is missing or wrong."""
    path = folder / SOURCE_NAME
    if not path.is_file():
        raise CheckpointError(
            "not an imported checkpoint",
            got=f"no {SOURCE_NAME} in {folder}",
            fix="Give a folder that `openemo weights import` or `pull` made",
        )
    try:
        return SourceRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise CheckpointError(f"{path} is damaged", got=f"{where}: {first['msg']}") from error


def some(names: Iterable[str], count: int = 3) -> str:
    """A few of many names."""
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


@contextmanager
def fresh_folder(output: Path) -> Iterator[Path]:
    """A hidden folder beside `output` that becomes `output` when the block ends well, and vanishes if not.

    Raises:
        OutputError: `output` exists and is not an empty folder, or cannot be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError("the output is there already", got=output, fix="Remove it, or choose another name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
        try:
            yield partial
            partial.chmod(0o755)  # mkdtemp's folders are for one user only
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be written", got=error.strerror or error) from error


def write_parts(
    output: Path,
    parts: Iterable[Part],
    record: SourceRecord,
    *,
    dtype: torch.dtype | None,
    finish: Callable[[Path], None],
) -> None:
    """Write parts, record and hashes; `dtype` None keeps that of the source.

    Args:
        finish: called last, while the folder is still hidden. It writes the hashes.

    Raises:
        CheckpointError: a weight is not finite (in `dtype`). OutputError: the folder cannot be written.
    """
    with fresh_folder(output) as folder:
        for part in parts:
            write_part(folder, part, dtype=dtype)
        (folder / SOURCE_NAME).write_text(record.model_dump_json(indent=1) + "\n")
        finish(folder)


def write_part(folder: Path, part: Part, *, dtype: torch.dtype | None) -> None:
    """Raises CheckpointError for a weight that is not finite, OutputError where nothing can be written."""
    place = folder / part.folder
    place.mkdir(parents=True)
    for name, values in {"config.json": part.config, **part.extra_json}.items():
        (place / name).write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    try:
        save_file(_storable(part, dtype), place / part.file_name, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(f"{place / part.file_name} cannot be written", got=error) from error


def _storable(part: Part, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Cast, checked, contiguous and without shared memory, as safetensors needs it."""
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in part.state.items():
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor if dtype is None else tensor.to(dtype)
            # isfinite does not know the 8-bit types
            if not torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all():
                raise CheckpointError(
                    f"the weight {part.folder}/{name} is not finite",
                    got=str(tensor.dtype),
                    fix="Import as float32; if that fails too, the source is damaged",
                )
        tensor = tensor.contiguous()
        address = tensor.untyped_storage().data_ptr()
        stored[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return stored
