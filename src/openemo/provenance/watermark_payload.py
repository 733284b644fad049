"""What a watermark says: a version and an id with a checksum, as symbols."""

from __future__ import annotations

import binascii
from typing import Final

from openemo.provenance.watermark_pattern import NUM_SYMBOLS, SYMBOL_BITS

__all__ = ["ID_BITS", "from_symbols", "to_symbols"]

ID_BITS: Final = 32
_VERSION, _VERSION_BITS, _CHECK_BITS = 1, 2, 16
assert _VERSION_BITS + ID_BITS + _CHECK_BITS == NUM_SYMBOLS * SYMBOL_BITS


def to_symbols(mark_id: int) -> tuple[int, ...]:
    """`NUM_SYMBOLS` numbers of `SYMBOL_BITS` bits for an id of `ID_BITS`."""
    told = _VERSION << ID_BITS | mark_id
    bits = told << _CHECK_BITS | _checksum(told)
    mask = (1 << SYMBOL_BITS) - 1
    return tuple(bits >> SYMBOL_BITS * place & mask for place in reversed(range(NUM_SYMBOLS)))


def from_symbols(symbols: tuple[int, ...]) -> int | None:
    """The id; None where the checksum or the version is another."""
    bits = 0
    for symbol in symbols:
        bits = bits << SYMBOL_BITS | symbol
    told, check = bits >> _CHECK_BITS, bits & (1 << _CHECK_BITS) - 1
    if check != _checksum(told) or told >> ID_BITS != _VERSION:
        return None
    return told & (1 << ID_BITS) - 1


def _checksum(told: int) -> int:
    """CRC-16 of CCITT."""
    return binascii.crc_hqx(told.to_bytes((_VERSION_BITS + ID_BITS + 7) // 8, "big"), 0xFFFF)
