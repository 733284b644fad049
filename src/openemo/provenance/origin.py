"""What a video was made of and by: told in its credentials, and the source of its watermark's number."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

__all__ = ["InputFile", "Origin"]

_MARK_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a video was made of.

    Attributes:
        role: "portrait" or "voice"; the file's own name is not told.
        sha256: of its bytes.
        path: where it is now.
    """

    role: str
    sha256: str
    path: Path


@dataclass(frozen=True, slots=True)
class Origin:
    """What a video was made of and by.

    Attributes:
        model: name of the weights.
        weights_sha256: of their list of hashes; None for networks that were put together in memory.
        seed: of the motion.
        portrait_sha256: of the pixels as they were decoded.
        voice_sha256: of the samples; None in a stream, whose sound is not known before.
        files: those that are known.
    """

    model: str
    weights_sha256: str | None
    seed: int
    portrait_sha256: str
    voice_sha256: str | None
    files: tuple[InputFile, ...] = ()

    @classmethod
    def of(
        cls,
        model: str,
        weights_sha256: str | None,
        seed: int,
        portrait: npt.NDArray[Any],
        voice: npt.NDArray[Any] | None,
    ) -> Self:
        heard = None if voice is None else _array_sha256(voice)
        return cls(model, weights_sha256, seed, _array_sha256(portrait), heard)

    def with_files(self, portrait: object, voice: object) -> Self:
        """The same, with the files among these, whatever they are."""
        found = (_input_file(role, one) for role, one in (("portrait", portrait), ("voice", voice)))
        return replace(self, files=tuple(file for file in found if file is not None))

    @property
    def mark_id(self) -> int:
        """The watermark's number, 32 bits: the same for the same portrait, voice, seed and weights."""
        told = (self.weights_sha256, self.seed, self.portrait_sha256, self.voice_sha256)
        digest = hashlib.sha256(repr(told).encode()).digest()
        return int.from_bytes(digest[: _MARK_BITS // 8], "big")


def _array_sha256(values: npt.NDArray[Any]) -> str:
    whole = np.ascontiguousarray(values)
    digest = hashlib.sha256(repr((whole.shape, whole.dtype.str)).encode())
    digest.update(whole.data)
    return digest.hexdigest()


def _input_file(role: str, given: object) -> InputFile | None:
    """None for what is no ordinary file, such as a pipe or an array."""
    if not isinstance(given, (str, os.PathLike)):
        return None
    path = Path(given)
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return InputFile(role, hashlib.file_digest(file, "sha256").hexdigest(), path.resolve())
    except (OSError, ValueError):
        return None
