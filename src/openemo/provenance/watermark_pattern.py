"""The watermark's patterns: band-limited noise on a tile whose edges meet, the same everywhere and for ever.

A mark is the sum of a synchronisation pattern and of one pattern for each symbol of its payload. What a
symbol says is how far its pattern is shifted around the tile (Kalker et al. 1999). The synchronisation
pattern tells where the tile begins and how large it is.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

__all__ = [
    "GRID_PX",
    "NUM_PATTERNS",
    "NUM_SYMBOLS",
    "SYMBOL_BITS",
    "TILE_PX",
    "from_band",
    "mark_band",
    "mark_tile",
    "patterns",
    "shift_ramp",
    "to_band",
]

TILE_PX: Final = 128
"""Side of a tile, where it is not made larger for large pictures."""
GRID_PX: Final = 4
"""Steps of the shifts: at half of that, patterns of this band are still alike by a third."""
SYMBOL_BITS: Final = 10  # (128 / 4)^2 places
NUM_SYMBOLS: Final = 5
NUM_PATTERNS: Final = 1 + NUM_SYMBOLS

# Cycles per tile. Longer waves would be seen as blotches; shorter ones are lost at half size.
_LOWEST, _HIGHEST = 4.0, 15.0
_REACH: Final = 16
SYNC_AMPLITUDE: Final = 1.3  # of the others': without synchronisation nothing is read
_NAME: Final = b"openemo watermark 1, pattern %d"


@cache
def patterns() -> npt.NDArray[np.complex128]:
    """(patterns, 31, 16): Fourier coefficients of each, of size 1 or 0; the lowest of a tile, see `to_band`.

    The phases come from SHAKE-256, which no library changes.
    """
    radius = np.hypot(_down(), _right())
    # One of each pair of coefficients that are each other's conjugate.
    is_used = (radius >= _LOWEST) & (radius <= _HIGHEST) & (_right() > 0)
    found = np.zeros((NUM_PATTERNS, *radius.shape), np.complex128)
    for number, pattern in enumerate(found):
        count = int(is_used.sum())
        digest = hashlib.shake_256(_NAME % number).digest(2 * count)
        turns = np.frombuffer(digest, "<u2") / 2**16
        pattern[is_used] = np.exp(2j * np.pi * turns)
    found.flags.writeable = False
    return found


def mark_band(symbols: tuple[int, ...]) -> npt.NDArray[np.complex128]:
    """(31, 16): the coefficients of the mark that carries these symbols."""
    synchronisation, *others = patterns()
    mark = SYNC_AMPLITUDE * synchronisation
    for symbol, pattern in zip(symbols, others, strict=True):
        down, right = divmod(symbol, TILE_PX // GRID_PX)
        mark = mark + pattern * shift_ramp(GRID_PX * down, GRID_PX * right)
    return np.asarray(mark)


def mark_tile(symbols: tuple[int, ...], side_px: int) -> npt.NDArray[np.float64]:
    """(side, side), mean 0, standard deviation 1: the mark that carries these symbols.

    Args:
        symbols: `NUM_SYMBOLS` numbers of `SYMBOL_BITS` bits.
        side_px: of the tile; at least 32.
    """
    tile = from_band(mark_band(symbols), side_px)
    return np.asarray(tile / tile.std())


def to_band(tile: npt.NDArray[np.floating]) -> npt.NDArray[np.complex128]:
    """(31, 16): a tile's waves down and across, from 0 to 15 and -15 to -1 and from 0 to 15 in a tile."""
    spectrum = scipy.fft.rfft2(tile)
    return np.asarray(np.concatenate([spectrum[:_REACH, :_REACH], spectrum[1 - _REACH :, :_REACH]]))


def from_band(band: npt.NDArray[np.complex128], side_px: int) -> npt.NDArray[np.float64]:
    """(side, side): the tile of these waves, on a grid as fine as is asked for."""
    spectrum = np.zeros((side_px, side_px // 2 + 1), np.complex128)
    spectrum[:_REACH, :_REACH], spectrum[1 - _REACH :, :_REACH] = band[:_REACH], band[_REACH:]
    return np.asarray(scipy.fft.irfft2(spectrum, s=(side_px, side_px)))


def shift_ramp(down_px: float, right_px: float) -> npt.NDArray[np.complex128]:
    """(31, 16): what a band is multiplied by when its tile is shifted around, in pixels of a tile of 128."""
    return np.asarray(np.exp(-2j * np.pi / TILE_PX * (_down() * down_px + _right() * right_px)))


def _down() -> npt.NDArray[np.int64]:
    return np.concatenate([np.arange(_REACH), np.arange(1 - _REACH, 0)])[:, None]


def _right() -> npt.NDArray[np.int64]:
    return np.arange(_REACH)[None]
