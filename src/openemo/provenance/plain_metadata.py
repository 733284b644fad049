"""The digital source type of IPTC in a file's XMP, which viewers and platforms read without any signature."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from openemo import __version__

__all__ = ["COMMENT", "DIGITAL_SOURCE_TYPE", "says_made_with_ai", "write_xmp"]

DIGITAL_SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMMENT: Final = f"Made with AI by openemo {__version__}. Digital source type: {DIGITAL_SOURCE_TYPE}"
"""For containers whose metadata are lines of text."""

_XMP: Final = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    f' xmp:CreatorTool="openemo {__version__}"'
    f' Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
).encode()
_XMP_BOX: Final = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")  # ISO 16684-1
_PNG_START: Final = 8 + 4 + 4 + 13 + 4  # signature and header
_GIF_LOOP: Final = b"\x21\xff\x0bNETSCAPE2.0"
_SEARCHED_BYTES: Final = 2**20  # at either end of a file


def write_xmp(path: Path) -> None:
    """Puts the packet into an MP4, MOV, PNG, WebP or GIF file, by its ending. Others stay as they are."""
    write = _WRITERS.get(path.suffix.lower())
    if write is not None:
        with path.open("rb+") as file:
            write(file)


def says_made_with_ai(path: Path) -> bool:
    """Whether the file's metadata name the digital source type of media made with AI."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        ends = file.read(_SEARCHED_BYTES)
        file.seek(max(0, size - _SEARCHED_BYTES))
        ends += file.read(_SEARCHED_BYTES)
    return b"digitalsourcetype/trainedAlgorithmicMedia" in ends


def _to_mp4(file: BinaryIO) -> None:
    """A box of its own at the end, so that nothing moves."""
    file.seek(0, os.SEEK_END)
    file.write(struct.pack(">I4s", 8 + len(_XMP_BOX) + len(_XMP), b"uuid") + _XMP_BOX + _XMP)


def _to_png(file: BinaryIO) -> None:
    data = file.read()
    chunk = b"iTXt" + b"XML:com.adobe.xmp" + bytes(5) + _XMP
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    file.seek(_PNG_START)
    file.write(whole + data[_PNG_START:])


def _to_webp(file: BinaryIO) -> None:
    """A chunk at the end. Only the extended format has a flag for it, and animations are in that."""
    start = file.read(21)
    if start[12:16] != b"VP8X":
        return
    end = file.seek(0, os.SEEK_END)
    file.write(b"XMP " + struct.pack("<I", len(_XMP)) + _XMP + bytes(len(_XMP) % 2))
    size = file.tell() - 8
    file.seek(4)
    file.write(struct.pack("<I", size))
    file.seek(20)
    file.write(bytes([start[20] | 4]))
    file.seek(end)


def _to_gif(file: BinaryIO) -> None:
    """An extension before the first frame, with the trailer that readers which skip blocks need."""
    data = file.read()
    colours = data[10]
    place = 13 + (3 << (colours & 7) + 1 if colours & 0x80 else 0)
    if data[place : place + len(_GIF_LOOP)] == _GIF_LOOP:  # old readers want it first
        place += len(_GIF_LOOP) + 5
    trailer = bytes([1, *range(255, -1, -1), 0])
    file.seek(place)
    file.write(b"\x21\xff\x0bXMP DataXMP" + _XMP + trailer + data[place:])


_WRITERS: Final[dict[str, Callable[[BinaryIO], None]]] = {
    ".mp4": _to_mp4,
    ".mov": _to_mp4,
    ".png": _to_png,
    ".webp": _to_webp,
    ".gif": _to_gif,
}
