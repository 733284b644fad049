"""The result of an import: networks under the names used here, and a record of their source.

source.json      format, licence, files with their SHA-256, and the unused tensors with the reason
SHA256SUMS       hash of every file below
unet/ ...        config.json and safetensors, as in a checkpoint folder
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from openemo.errors import CheckpointError, OutputError
from openemo.files import fresh_folder, read_json
from openemo.settings import StrictModel, wrong_setting

__all__ = [
    "SOURCE_NAME",
    "Imported",
    "Part",
    "SourceRecord",
    "read_source",
    "some",
    "write_part",
    "write_parts",
]

SOURCE_NAME = "source.json"


@dataclass(frozen=True)
class Part:
    """One network under the names used here.

    Attributes:
        folder: its folder in the checkpoint.
        kind: the class that loads it.
        config: arguments of that class.
        state: exactly the tensors of that class.
        file_name: "model.safetensors" for speech encoders, "diffusion_pytorch_model.safetensors" for others.
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
    """What the reader of a format found: parts, the files that it read, and a reason for each unused key."""

    parts: tuple[Part, ...]
    left_over: dict[str, str]
    files: tuple[Path, ...]


class SourceRecord(StrictModel):
    """Contents of `source.json`.

    Attributes:
        format: as in `openemo weights import FORMAT`.
        components: class name of each part, by its folder's name.
        licence: of the weights.
        commercial: whether that licence allows commercial use.
        hub: "owner/name" if the files came from a hub; None if the user gave them.
        revision: commit of the hub's repository.
        files: SHA-256 of each file that was read, by its path below the given folder.
        left_over: key of the source -> why it is not used.
        version: of openemo.
    """

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
    """Raises CheckpointError if `source.json` is missing or wrong."""
    path = folder / SOURCE_NAME
    if not path.is_file():
        raise CheckpointError(
            "not an imported checkpoint",
            got=f"no {SOURCE_NAME} in {folder}",
            fix="Give a folder that `openemo weights import` or `pull` made",
        )
    values = read_json(path)
    try:
        return SourceRecord.model_validate(values)
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise CheckpointError(f"{path} is damaged at `{wrong.name}`", expected=wrong.expected) from error


def some(names: Iterable[str], count: int = 3) -> str:
    """The first `count` names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more


def write_parts(
    output: Path,
    parts: Iterable[Part],
    record: SourceRecord,
    *,
    dtype: torch.dtype | None,
    finish: Callable[[Path], None],
) -> None:
    """Writes parts, record and hashes. `dtype` None keeps the source's.

    Args:
        finish: called last, while the folder is still hidden. It must write the hashes.

    Raises:
        CheckpointError: a weight is not finite (in `dtype`). OutputError: the folder cannot be written.
    """
    with fresh_folder(output) as folder:
        for part in parts:
            write_part(folder, part, dtype=dtype)
        (folder / SOURCE_NAME).write_text(record.model_dump_json(indent=1) + "\n")
        finish(folder)


def write_part(folder: Path, part: Part, *, dtype: torch.dtype | None) -> None:
    """Raises CheckpointError if a weight is not finite, OutputError if the folder cannot be written."""
    target = folder / part.folder
    target.mkdir(parents=True)
    for name, values in {"config.json": part.config, **part.extra_json}.items():
        (target / name).write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
    try:
        save_file(_storable(part, dtype), target / part.file_name, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(f"{target / part.file_name} cannot be written", got=error) from error


def _storable(part: Part, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Tensors cast, checked, contiguous and without shared memory, as safetensors needs them."""
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in part.state.items():
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor if dtype is None else tensor.to(dtype)
            # isfinite does not support 8-bit types.
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
