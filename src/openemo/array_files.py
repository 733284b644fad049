"""Reads arrays from .npy and .npz files that others may have damaged. Nothing in them is run."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from openemo.errors import OpenEmoError, TrainingError

__all__ = ["REPAIR", "ArrayKind", "read_array", "read_arrays"]

REPAIR: Final = "Delete it, and the command that made it makes it again"
_MOST_HEADER_BYTES: Final = 10_000
_VERSION: Final = (
    1,
    0,
)  # headers of the later ones claim up to 4 GB; `numpy.save` writes them for records only


class ArrayKind(NamedTuple):
    """What an array must be.

    Attributes:
        shape: None is any size of that axis; a shape that is None is any.
    """

    dtype: DTypeLike
    shape: tuple[int | None, ...] | None = None


def read_array(path: Path, kind: ArrayKind) -> NDArray[Any]:
    """The array of a .npy file. Raises TrainingError if it is missing, damaged or of another kind."""
    with _errors(path, TrainingError), _opened(path) as file:
        return _read(file, path.stat().st_size, kind, path.name)


def read_arrays(
    path: Path, kinds: Mapping[str, ArrayKind] | ArrayKind, *, error: type[OpenEmoError] = TrainingError
) -> dict[str, NDArray[Any]]:
    """Arrays of a .npz file, as `numpy.savez` writes it. Raises `error` as `read_array`.

    Args:
        kinds: of the arrays that are read; one kind for all reads all that the file has.
    """
    with _errors(path, error), _opened(path) as file, zipfile.ZipFile(file) as archive:
        if isinstance(kinds, ArrayKind):
            kinds = dict.fromkeys((name.removesuffix(".npy") for name in archive.namelist()), kinds)
        arrays = {}
        for name, kind in kinds.items():
            entry = archive.getinfo(f"{name}.npy")
            # A packed entry could grow without limit when it is read.
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > path.stat().st_size:
                raise ValueError(f"{name} is packed")
            with archive.open(entry) as part:
                arrays[name] = _read(part, entry.file_size, kind, name)
        return arrays


def _read(file: IO[bytes], num_bytes: int, kind: ArrayKind, name: str) -> NDArray[Any]:
    """Checks the header before memory is taken for what it claims."""
    version = npy.read_magic(file)
    if version != _VERSION:
        raise ValueError(f"{name} is of version {version}")
    shape, _, dtype = npy.read_array_header_1_0(file, max_header_size=_MOST_HEADER_BYTES)
    wanted = np.dtype(kind.dtype)
    is_kind = dtype.kind == wanted.kind if wanted.kind in "Ui" else dtype == wanted
    sizes = kind.shape
    if not is_kind or (
        sizes is not None
        and (len(sizes) != len(shape) or any(b not in (None, a) for a, b in zip(shape, sizes, strict=True)))
    ):
        expected = "" if sizes is None else f" {tuple('any' if n is None else n for n in sizes)}"
        raise ValueError(f"{name} is {dtype} {shape} instead of {wanted.name}{expected}")
    if math.prod(shape) * dtype.itemsize > num_bytes:
        raise ValueError(f"{name} claims {math.prod(shape)} values, and the file has {num_bytes} bytes")
    file.seek(0)
    return np.asarray(npy.read_array(file, allow_pickle=False, max_header_size=_MOST_HEADER_BYTES))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if not path.is_file():
        raise FileNotFoundError("no such file" if not path.exists() else "no ordinary file")
    with path.open("rb") as file:
        yield file


@contextmanager
def _errors(path: Path, kind: type[OpenEmoError]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # numpy and zipfile raise anything for damaged headers
        reason = " ".join((str(error) or type(error).__name__).split())[:300]
        raise kind(f"{path} cannot be read", got=reason, fix=REPAIR) from error
