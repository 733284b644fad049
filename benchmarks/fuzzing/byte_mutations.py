"""Damage to bytes of any kind. Every function takes bytes and a generator, and returns other bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeVar

import numpy as np

__all__ = ["MUTATIONS", "Random", "extreme", "mutate_bytes", "pick"]

Random = np.random.Generator
T = TypeVar("T")

EXTREMES: Final = sorted(
    {
        edge + step
        for power in (0, 7, 8, 15, 16, 31, 32, 63, 64)
        for edge in (2**power,)
        for step in (-1, 0, 1)
    }
)
# Most fields that decide about sizes are near the start.
_HEADER_BYTES: Final = 96


def pick(rng: Random, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def extreme(rng: Random, num_bytes: int) -> int:
    """An unsigned number of this many bytes at an edge of some integer type."""
    return pick(rng, [value for value in EXTREMES if value < 256**num_bytes])


def flip_bits(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(len(data), size=int(rng.integers(1, 9))):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_bytes(data: bytes, rng: Random) -> bytes:
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, 17))
    fill = pick(rng, [b"\0", b"\xff", b"\x7f", b"\x80", None])
    new = rng.bytes(length) if fill is None else fill * length
    return (data[:start] + new + data[start + length :])[: len(data)]


def set_integer(data: bytes, rng: Random) -> bytes:
    """An integer in either byte order at an edge of its type, most often in the header."""
    size = pick(rng, [1, 2, 4, 8])
    limit = len(data) if rng.random() < 0.4 else min(len(data), _HEADER_BYTES)
    start = int(rng.integers(max(1, limit - size + 1)))
    order: Literal["little", "big"] = "little" if rng.random() < 0.5 else "big"
    new = extreme(rng, size).to_bytes(size, order)
    return data[:start] + new + data[start + size :]


def truncate(data: bytes, rng: Random) -> bytes:
    return data[: int(rng.integers(len(data)))]


def _block(data: bytes, rng: Random) -> tuple[int, int]:
    """Start and end of a block, short ones more often."""
    length = 1 + int(len(data) * rng.random() ** 4)
    start = int(rng.integers(len(data) - length + 1))
    return start, start + length


def delete_block(data: bytes, rng: Random) -> bytes:
    start, end = _block(data, rng)
    return data[:start] + data[end:]


def duplicate_block(data: bytes, rng: Random) -> bytes:
    start, end = _block(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 5)) + data[end:]


def swap_blocks(data: bytes, rng: Random) -> bytes:
    cuts = np.sort(rng.integers(len(data) + 1, size=4)).tolist()
    a, b, c, d = cuts
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def insert_block(data: bytes, rng: Random) -> bytes:
    start = int(rng.integers(len(data) + 1))
    length = pick(rng, [1, 3, 64, 5000])
    return data[:start] + (rng.bytes(length) if rng.random() < 0.5 else bytes(length)) + data[start:]


def empty(data: bytes, rng: Random) -> bytes:
    return pick(rng, [b"", b"\0", b"\n", bytes(70_000), data[:1]])


def append(data: bytes, rng: Random) -> bytes:
    return data + pick(rng, [data, bytes(4096), rng.bytes(100), struct.pack("<Q", 2**63)])


Mutation = Callable[[bytes, Random], bytes]
MUTATIONS: Final[tuple[Mutation, ...]] = (
    flip_bits,
    set_bytes,
    set_integer,
    set_integer,
    truncate,
    delete_block,
    duplicate_block,
    swap_blocks,
    insert_block,
    append,
)


def mutate_bytes(data: bytes, rng: Random) -> tuple[bytes, str]:
    """One to four of the mutations; rarely nothing is left of the file."""
    if not data or rng.random() < 0.02:
        return empty(data, rng), "empty"
    names = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.6, 0.2, 0.1, 0.1]))):
        mutation = pick(rng, MUTATIONS)
        data = mutation(data, rng) if data else data
        names.append(mutation.__name__)
    return data, "+".join(names)
