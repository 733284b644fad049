"""Readers with a bug of each kind. `--self-test` must find them all."""

from __future__ import annotations

import ctypes
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fuzzing.byte_mutations import Random
from benchmarks.fuzzing.targets import Target
from openemo.errors import InputError

__all__ = ["PLANTED"]


@dataclass(frozen=True)
class _Planted(Target):
    def make(self, wholes: Path, folder: Path, rng: Random) -> str:
        folder.mkdir()
        (folder / "input").write_bytes(rng.bytes(8))
        return "eight bytes"


def _planted(read: Callable[[], object]) -> Target:
    return _Planted(lambda folder: folder.mkdir(parents=True), lambda *_: _forget(read()))


def _forget(_: object) -> None: ...


def _refuse() -> None:
    raise InputError("planted", fix="Nothing to do")


def _unclear() -> None:
    error = InputError("planted")
    error.args = ("planted\x1b[2J",)  # the constructor would escape it
    raise error


def _raise() -> None:
    raise ValueError("planted")


def _exhaust() -> None:
    held = [np.ones(2**26, np.uint8) for _ in range(48)]  # 3 GB
    time.sleep(0.1 * len(held))


def _leave() -> None:
    (Path(tempfile.gettempdir()) / "left").write_bytes(b"x")


def _change(source: Path, _: Path) -> None:
    (source / "input").write_bytes(b"changed")


PLANTED: Final[dict[str, tuple[Target, str]]] = {
    "planted-success": (_planted(lambda: None), "success"),
    "planted-error": (_planted(_refuse), "clear error"),
    "planted-unclear": (_planted(_unclear), "unclear error"),
    "planted-exception": (_planted(_raise), "raw exception"),
    "planted-crash": (_planted(lambda: ctypes.string_at(0)), "crash"),
    "planted-hang": (_planted(lambda: time.sleep(600)), "hang"),
    "planted-memory": (_planted(_exhaust), "over memory"),
    "planted-leftover": (_planted(_leave), "file left"),
    "planted-change": (_Planted(lambda folder: folder.mkdir(parents=True), _change), "file left"),
}
"""The class that each must get."""
