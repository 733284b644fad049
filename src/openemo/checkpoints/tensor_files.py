"""Reads untrusted weight files without executing code: safetensors and pickles, single or in shards.

Pickles are read only by `torch.load(weights_only=True)`. The sizes that a file claims are checked before any
memory is allocated for them.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from openemo.checkpoints.parts import some
from openemo.errors import CheckpointError
from openemo.files import read_json

__all__ = ["RawWeights", "find_weights", "read_tensors", "read_weights", "unpickle"]

_PICKLES = frozenset({".ckpt", ".pth", ".pt", ".bin"})
_WRAPPERS = ("state_dict", "model_state_dict")
_BAD_GLOBAL = re.compile(r"GLOBAL (\S+)")
# What torch's restricted unpickler raises on damaged or hostile pickles; found by feeding it random damage.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
)


@dataclass(frozen=True)
class RawWeights:
    """Contents of one or more files.

    Attributes:
        tensors: on the CPU, in the file's dtype, most of them memory-mapped.
        extras: other contents of a pickle: step counts, sizes, versions.
        files: those that were read.
    """

    tensors: dict[str, Tensor]
    extras: dict[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


def find_weights(folder: Path, stems: Sequence[str]) -> Path:
    """The weights file, or the index of its shards: safetensors before pickles, full precision before fp16.

    Raises:
        CheckpointError: there is none.
    """
    endings = ("safetensors", "safetensors.index.json", "fp16.safetensors", "bin", "bin.index.json")
    for ending in endings:
        for stem in stems:
            if (folder / f"{stem}.{ending}").is_file():
                return folder / f"{stem}.{ending}"
    raise CheckpointError(
        f"there are no weights in {folder}", expected=" or ".join(f"{stem}.safetensors" for stem in stems)
    )


def read_weights(path: Path) -> RawWeights:
    """All tensors of a file, or of the shards that an index lists. Raises CheckpointError."""
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    return read_tensors(path)


def read_tensors(path: Path) -> RawWeights:
    """All tensors of one file: .safetensors, or a pickle (.ckpt, .pth, .pt, .bin).

    Raises:
        CheckpointError: the file is missing, truncated, of another format, or a pickle with code in it.
    """
    try:
        is_file = path.is_file()
    except OSError:  # a name that is too long
        is_file = False
    if not is_file:
        raise CheckpointError("there is no such file", got=path, fix="Check the path")
    extras: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        try:
            tensors = load_file(path)
        except Exception as error:  # of the library, for whatever the header claims
            raise _unreadable(path, error) from error
    elif path.suffix in _PICKLES:
        tensors, extras = _split(path, unpickle(path))
    else:
        known = ", ".join(sorted(_PICKLES))
        raise CheckpointError(f"{path} is of an unknown kind", expected=f".safetensors, or one of {known}")
    if not tensors:
        raise CheckpointError(f"there are no tensors in {path}")
    for name, tensor in tensors.items():
        _check_tensor(path, name, tensor)
    return RawWeights(tensors, extras, (path,))


def _read_shards(index: Path) -> RawWeights:
    file_of = read_json(index).get("weight_map")
    if not isinstance(file_of, dict) or not all(isinstance(name, str) for name in file_of.values()):
        raise CheckpointError(f"{index} is wrong", expected='a "weight_map" of tensor names to file names')
    tensors: dict[str, Tensor] = {}
    files: list[Path] = []
    for name in sorted(set(file_of.values())):
        if name in {"", ".", ".."} or name != PurePosixPath(name).name or "\\" in name or "\0" in name:
            raise CheckpointError(
                f"{index} names a file outside its own folder", got=repr(name), expected="plain file names"
            )
        shard = read_tensors(index.parent / name)
        listed = {key for key, file in file_of.items() if file == name}
        if listed != shard.tensors.keys():
            differing = sorted(listed ^ shard.tensors.keys())
            raise CheckpointError(
                f"{index.parent / name} is not what {index.name} lists", got=some(differing)
            )
        tensors |= shard.tensors
        files += shard.files
    return RawWeights(tensors, files=tuple(files))


def unpickle(path: Path) -> Any:
    """The contents of a file that `torch.save` wrote, without its code. Raises CheckpointError."""
    try:
        is_archive = zipfile.is_zipfile(path)
        if is_archive:
            _check_archive(path)
        with warnings.catch_warnings():  # about the protocol; unreadable ones are errors anyway
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except _UNPICKLING_ERRORS as error:
        found = _BAD_GLOBAL.search(str(error))
        if isinstance(error, pickle.UnpicklingError) and found:
            raise CheckpointError(
                f"{path} has more than weights in it, and that could run code",
                got=found[1],
                fix="Use the .safetensors file of the same model, if there is one",
            ) from error
        raise _unreadable(path, error) from error


def _check_archive(path: Path) -> None:
    """torch does not compress its archives. A compressed one could grow without limit when read."""
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise CheckpointError(f"{path} is a packed archive", expected="a file that torch.save wrote")


def _split(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a pickle, and the rest. Unwraps one level, such as "state_dict"."""
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(f"{path} is wrong", got=type(content).__name__, expected="named tensors")
    extras: dict[str, Any] = {}
    for wrapper in _WRAPPERS:
        inner = content.get(wrapper)
        if isinstance(inner, dict) and all(isinstance(key, str) for key in inner):
            extras = {key: value for key, value in content.items() if key != wrapper}
            content = inner
            break
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    return tensors, extras | {key: value for key, value in content.items() if key not in tensors}


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    plain = (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
    )
    if not plain:
        raise CheckpointError(
            f"{path} has a tensor of an unusual kind", got=name, expected="dense, on the CPU"
        )
    # With a stride of zero, a few stored bytes could claim any size.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            f"{path} has a tensor that claims more values than it holds", got=f"{name} {tuple(tensor.shape)}"
        )


def _unreadable(path: Path, error: BaseException) -> CheckpointError:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"version https://git-lfs"):
        fix = "This is a Git LFS pointer, not the weights: run `git lfs pull`, or download the file itself"
    elif start[:1] == b"<":
        fix = "This is a web page, not the weights: download the file itself"
    else:
        fix = "It may be truncated or of another format: compare its size and hash with the source's"
    size = f"{path.stat().st_size} bytes"
    return CheckpointError(f"{path} cannot be read as weights", got=f"{size}: {_first_line(error)}", fix=fix)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
