"""Files that follow their format and are absurd: enormous, empty, long and thin, with a thousand channels."""

from __future__ import annotations

import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.fuzzing.byte_mutations import Random, pick

__all__ = ["HOSTILE_NAMES", "absurd_picture", "absurd_sound", "make_special"]

# Two of these are multiplied; more than 170 megapixels are refused by the header.
_SIDES: Final = (1, 2, 3, 4095, 13_000, 65_535, 169_000_000, 2**31 - 1)
_MOST_BYTES: Final = 1_400_000_000  # of unpacked pixels; more takes the fuzzer's own time
# Colour type and bits of a PNG, with the channels.
_KINDS: Final = (
    (0, 1, 1),
    (0, 8, 1),
    (0, 16, 1),
    (2, 8, 3),
    (2, 16, 3),
    (3, 1, 1),
    (3, 8, 1),
    (4, 8, 2),
    (6, 8, 4),
    (6, 16, 4),
)
HOSTILE_NAMES: Final = (
    "take:1",
    "http:",
    "a\nb",
    "\x1b[31mred",
    "-o",
    "%s%n",
    " ",
    "a" * 240,
    "caf\udce9",  # a byte of Latin-1, as old disks have it
    "\u05d0\u202e\U0001f600",
    "concat:a|b",
    "a*b?[c]",
)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _blank_rows(width_bytes: int, height: int) -> bytes:
    """Compressed zeros, made without holding the picture."""
    packer = zlib.compressobj(1)
    left, block = (width_bytes + 1) * height, bytes(1 << 22)
    parts = []
    while left > 0:
        parts.append(packer.compress(block[: min(left, len(block))]))
        left -= len(block)
    return b"".join(parts) + packer.flush()


def blank_png(width: int, height: int, colour: int, bits: int, channels: int, rng: Random) -> bytes:
    palette = _chunk(b"PLTE", rng.bytes(3 * min(256, 2**bits))) if colour == 3 else b""
    extra = b""
    if rng.random() < 0.3:
        size = {0: 2, 2: 6, 3: 1}.get(colour, 1)
        extra = _chunk(b"tRNS", bytes(size))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(rng.random() < 0.1))
    num_bytes = -(-width * bits * channels // 8)
    rows = _blank_rows(num_bytes, height) if num_bytes * height < _MOST_BYTES else b"x"
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + palette
        + extra
        + _chunk(b"IDAT", rows)
        + _chunk(b"IEND", b"")
    )


def absurd_picture(folder: Path, rng: Random) -> str:
    """Writes one picture; returns what it is."""
    what = pick(rng, ["blank", "blank", "blank", "sparse", "gif", "ppm", "bmp", "eps", "svg", "xbm"])
    width, height = pick(rng, _SIDES), pick(rng, _SIDES)
    if what == "blank":
        colour, bits, channels = pick(rng, _KINDS)
        (folder / "blank.png").write_bytes(blank_png(width, height, colour, bits, channels, rng))
        return f"PNG of {width} x {height}, colour type {colour}, {bits} bits"
    if what == "sparse":
        suffix, start = pick(rng, [("png", b"\x89PNG\r\n\x1a\n"), ("jpg", b"\xff\xd8\xff\xe0"), ("bin", b"")])
        _write_sparse(folder / f"sparse.{suffix}", start, 9 * 10**9)
        return f"9 GB of nothing that start with {start!r}"
    files = {
        "gif": b"GIF89a"
        + struct.pack("<HH", width % 65_536, height % 65_536)
        + b"\xf0\0\0"
        + bytes(6)
        + (b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\2\2\x44\1\0") * pick(rng, [1, 20_000])
        + b";",
        "ppm": pick(rng, [b"P6", b"P5", b"P4", b"P3", b"Pf", b"P7"])
        + b" %d %d %d\n" % (width, height, pick(rng, [1, 255, 65_535, 0, 10**9]))
        + bytes(12),
        "bmp": b"BM"
        + struct.pack(
            "<IHHIIiiHHIIiiII",
            54,
            0,
            0,
            54,
            40,
            width,
            -height,
            1,
            pick(rng, [1, 4, 8, 24, 32]),
            pick(rng, [0, 1, 2, 3]),
            0,
            1,
            1,
            0,
            0,
        )
        + bytes(99),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 "
        + b"%d %d\n" % (width, height)
        + b"%%EndComments\n{} loop\n%%EOF\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d'/>" % (width, height),
        "xbm": b"#define a_width %d\n#define a_height %d\nstatic char a_bits[] = {0x00};" % (width, height),
    }
    (folder / f"absurd.{what}").write_bytes(files[what])
    return f"{what} of {width} x {height}"


def _write_sparse(path: Path, start: bytes, size: int) -> None:
    with path.open("wb") as file:
        file.write(start)
        file.truncate(size)


def absurd_sound(folder: Path, rng: Random) -> str:
    """Writes one sound; returns what it is."""
    what = pick(rng, ["wav", "wav", "wav", "wav", "sparse", "silence", "playlist", "gap"])
    path = folder / "absurd.wav"
    if what == "wav":
        rate = pick(rng, [0, 1, 2, 7, 50, 999, 8000, 44_100, 768_000, 2**24, 2**31 - 1, 2**32 - 1])
        channels = pick(rng, [0, 1, 2, 3, 6, 8, 16, 63, 64, 255, 1024, 65_535])
        bits, code = pick(rng, [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3), (1, 1), (7, 1)])
        body = rng.bytes(pick(rng, [0, 1, 2, 4, 400, 40_000]) * max(1, min(channels, 512)))
        path.write_bytes(wav_header(rate, channels, bits, code, len(body)) + body)
        return f"WAV of {rate} Hz, {channels} channels, {bits} bits, {len(body)} bytes"
    if what == "sparse":
        rate = pick(rng, [1, 8000, 48_000])
        _write_sparse(path, wav_header(rate, 2, 16, 1, 2**32 - 100), pick(rng, [5 * 10**8, 2**32]))
        return f"WAV with gigabytes of silence at {rate} Hz"
    if what == "silence":
        hours = pick(rng, [1, 10])
        path.with_suffix(".flac").write_bytes(silent_flac(hours * 3600, 8000))
        return f"{hours} hours of silence in a small FLAC"
    if what == "gap":
        path.with_suffix(".au").write_bytes(
            struct.pack(">4sIIIII", b".snd", 24, 2**32 - 1, 27, 8000, 1) + bytes(99)
        )
        return "AU without a length"
    lists = [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://localhost:9/a.ts\n#EXTINF:9,\n/etc/passwd\n",
        "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>/etc/</BaseURL></MPD>",
    ]
    path.write_text(pick(rng, lists))
    return "playlist"


def wav_header(rate_hz: int, channels: int, bits: int, code: int, num_bytes: int) -> bytes:
    block = channels * -(-bits // 8)
    form = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * block % 2**32, block % 2**16, bits)
    size = (36 + num_bytes) % 2**32
    return (
        b"RIFF"
        + struct.pack("<I", size)
        + b"WAVEfmt \x10\0\0\0"
        + form
        + b"data"
        + struct.pack("<I", num_bytes)
    )


def silent_flac(seconds: int, rate_hz: int) -> bytes:
    """Mono, 16 bits, in constant blocks of 11 to 14 bytes."""
    block = 65_535
    total = seconds * rate_hz
    info = struct.pack(">HH", block, block) + bytes(6)
    info += ((rate_hz << 44) | (15 << 36) | total).to_bytes(8, "big") + bytes(16)
    return (
        b"fLaC"
        + b"\x80"
        + len(info).to_bytes(3, "big")
        + info
        + b"".join(_silent_frames(total // block, block))
    )


def _silent_frames(count: int, block: int) -> Iterator[bytes]:
    for number in range(count):
        head = b"\xff\xf8\x70\x08" + _coded_number(number) + struct.pack(">H", block - 1)
        frame = head + bytes([_crc(head, 8, 0x07)]) + bytes(3)
        yield frame + struct.pack(">H", _crc(frame, 16, 0x8005))


def _coded_number(number: int) -> bytes:
    """As UTF-8 codes characters."""
    return (
        chr(number).encode()
        if number < 0xD800
        else bytes([0xE0 | number >> 12, 0x80 | number >> 6 & 63, 0x80 | number & 63])
    )


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    crc, top, mask = 0, 1 << (bits - 1), (1 << bits) - 1
    for byte in data:
        crc ^= byte << (bits - 8)
        for _ in range(8):
            crc = (crc << 1 ^ polynomial) & mask if crc & top else crc << 1
    return crc


def make_special(path: Path, rng: Random) -> str:
    """Replaces a file by something that is no file."""
    what = pick(
        rng, ["fifo", "folder", "socket", "zero", "null", "full", "dangling", "loop", "missing", "sparse"]
    )
    path.unlink()
    links = {
        "zero": "/dev/zero",
        "null": "/dev/null",
        "full": "/dev/full",
        "dangling": "nowhere",
        "loop": path.name,
    }
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "socket":
        # The path of a socket may have 107 bytes, so it is made from within its folder.
        here = os.open(".", os.O_RDONLY)
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(path.name[:100])
        except OSError:
            return "missing"
        finally:
            os.chdir(here)
            os.close(here)
    elif what == "sparse":
        _write_sparse(path, b"", 25 * 10**8)  # over the limit of memory, and hashed in seconds
    elif what != "missing":
        path.symlink_to(links[what])
    return what
