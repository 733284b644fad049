"""Damage to files whose structure is known: chunks, boxes, tags and tensors.

Checksums and lengths stay right, so that readers do not stop before they reach the damage.
"""

from __future__ import annotations

import ast
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import PurePath
from typing import Any, Final

import numpy as np

from benchmarks.fuzzing.byte_mutations import Random, extreme, mutate_bytes, pick, set_integer
from benchmarks.fuzzing.tree_mutations import mutate_json, mutate_tree, mutate_yaml

__all__ = ["mutate_file"]

Chunk = tuple[bytes, bytes]
"""Name and content."""


def _edit_chunks(chunks: list[Chunk], rng: Random) -> str:
    """Changes a list of chunks in place; returns what."""
    if not chunks:
        return "no chunks"
    index = int(rng.integers(len(chunks)))
    name, content = chunks[index]
    what = pick(
        rng, ["content", "content", "content", "content", "remove", "copy", "move", "rename", "empty", "grow"]
    )
    if what == "content":
        changed = (
            set_integer(content, rng) if content and rng.random() < 0.6 else mutate_bytes(content, rng)[0]
        )
        chunks[index] = name, changed
    elif what == "remove":
        del chunks[index]
    elif what == "copy":
        chunks[index:index] = [chunks[index]] * pick(rng, [1, 2, 300])
    elif what == "move":
        chunks.insert(int(rng.integers(len(chunks))), chunks.pop(index))
    elif what == "rename":
        chunks[index] = pick(rng, chunks)[0], content
    elif what == "empty":
        chunks[index] = name, b""
    else:
        chunks[index] = name, content + bytes(pick(rng, [1, 255, 65_536]))
    return f"{what} {name!r}"


@cache
def _bomb(num_bytes: int) -> bytes:
    """Zeros in a thousandth of their size."""
    return zlib.compress(bytes(num_bytes), 9)


def mutate_png(data: bytes, rng: Random) -> tuple[bytes, str]:
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    what = _edit_chunks(chunks, rng)
    if rng.random() < 0.1:
        bomb = _bomb(pick(rng, [10**6, 10**8]))
        name = pick(rng, [b"zTXt", b"iCCP", b"iTXt"])
        head = b"a\0\1\0\0\0" if name == b"iTXt" else b"a\0\0"
        chunks.insert(1, (name, head + bomb))
        what += f" bomb {name!r}"
    return data[:8] + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ), what


def mutate_riff(data: bytes, rng: Random) -> tuple[bytes, str]:
    """WAV, AVI, WebP; and AIFF, whose lengths are big-endian."""
    order = ">" if data[:4] == b"FORM" else "<"
    chunks, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(f"{order}I", data, at + 4)
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    what = _edit_chunks(chunks, rng)
    lie = int(rng.integers(len(chunks))) if chunks and rng.random() < 0.2 else -1
    body = b""
    for index, (name, content) in enumerate(chunks):
        length = extreme(rng, 4) if index == lie else len(content)
        body += name + struct.pack(f"{order}I", length) + content + bytes(len(content) % 2)
    total = extreme(rng, 4) if rng.random() < 0.1 else 4 + len(body)
    return data[:4] + struct.pack(f"{order}I", total % 2**32) + data[8:12] + body, what


_PARENTS: Final = frozenset(
    {
        b"moov",
        b"trak",
        b"mdia",
        b"minf",
        b"stbl",
        b"edts",
        b"iprp",
        b"ipco",
        b"udta",
        b"moof",
        b"traf",
        b"dinf",
    }
)


def _edit_boxes(data: bytes, rng: Random) -> tuple[bytes, str]:
    chunks, at = [], 0
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + length if 8 <= length <= len(data) - at else len(data)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : end]))
        at = end
    parents = [index for index, (name, content) in enumerate(chunks) if name in _PARENTS and content]
    if parents and rng.random() < 0.85:
        index = pick(rng, parents)
        content, what = _edit_boxes(chunks[index][1], rng)
        chunks[index] = chunks[index][0], content
    else:
        what = _edit_chunks(chunks, rng)
    lie = int(rng.integers(len(chunks))) if chunks and rng.random() < 0.05 else -1
    return b"".join(
        struct.pack(">I", extreme(rng, 4) if index == lie else len(content) + 8) + name + content
        for index, (name, content) in enumerate(chunks)
    ), what


def mutate_boxes(data: bytes, rng: Random) -> tuple[bytes, str]:
    """MP4, M4A, MOV, AVIF, HEIC: boxes in boxes."""
    return _edit_boxes(data, rng)


def mutate_tiff(data: bytes, rng: Random) -> tuple[bytes, str]:
    """One entry of the first directory: its tag, type, count or value; or the next directory is this one."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, at)
    changed = bytearray(data)
    what = pick(rng, ["tag", "type", "count", "value", "value", "value", "value", "loop", "entries"])
    entry = at + 2 + 12 * int(rng.integers(max(1, count)))
    if what == "loop":
        struct.pack_into(f"{order}I", changed, at + 2 + 12 * count, at)
    elif what == "entries":
        struct.pack_into(f"{order}H", changed, at, extreme(rng, 2))
    else:
        start, size = {"tag": (0, 2), "type": (2, 2), "count": (4, 4), "value": (8, 4)}[what]
        value = (
            int(rng.integers(20))
            if what == "type"
            else pick(rng, [extreme(rng, size), extreme(rng, 2) % 2**16])
        )
        struct.pack_into(f"{order}{'H' if size == 2 else 'I'}", changed, entry + start, value)
    return bytes(changed), f"{what} of tag {struct.unpack_from(f'{order}H', data, entry)[0]}"


def mutate_jpeg(data: bytes, rng: Random) -> tuple[bytes, str]:
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append((data[at : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + length
    what = _edit_chunks(segments, rng)
    head = b"".join(
        name + struct.pack(">H", (len(content) + 2) % 2**16) + content for name, content in segments
    )
    return data[:2] + head + data[at:], what


def mutate_ebml(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Matroska and WebM: the content or the length of one element."""
    elements, at = [], 0
    while at < len(data) - 2:
        if not data[at]:
            break
        id_end = at + 9 - data[at].bit_length()
        if id_end >= len(data) or not data[id_end]:
            break
        size_end = id_end + 9 - data[id_end].bit_length()
        bits = 7 * (size_end - id_end)
        length = int.from_bytes(data[id_end:size_end], "big") & ((1 << bits) - 1)
        elements.append((at, id_end, size_end, min(length, len(data) - size_end)))
        is_parent = data[at:id_end].hex() in _EBML_PARENTS
        at = size_end if is_parent else size_end + length
    if not elements:
        return mutate_bytes(data, rng)
    _, id_end, size_end, length = pick(rng, elements)
    what = f"element {data[elements[0][0] : id_end][-4:].hex()}"
    if length and length <= 8 and rng.random() < 0.8:
        new = extreme(rng, length).to_bytes(length, "big")
        return data[:size_end] + new + data[size_end + length :], f"value {what}"
    size = size_end - id_end
    lie = (extreme(rng, size) & ((1 << 7 * size) - 1)) | (1 << 7 * size)
    return data[:id_end] + lie.to_bytes(size, "big")[-size:] + data[size_end:], f"length {what}"


# Names of the elements that hold others: Segment, Info, Tracks, TrackEntry, Audio, Video, Cluster and so on.
_EBML_PARENTS: Final = frozenset(
    [
        "18538067",
        "1549a966",
        "1654ae6b",
        "ae",
        "e1",
        "e0",
        "1f43b675",
        "a0",
        "1254c367",
        "7373",
        "67c8",
        "1c53bb6b",
        "bb",
        "b7",
        "114d9b74",
        "4dbb",
        "1a45dfa3",
    ]
)


def mutate_ogg(data: bytes, rng: Random) -> tuple[bytes, str]:
    """One page with a right checksum."""
    starts = [at for at in range(len(data) - 4) if data[at : at + 4] == b"OggS"]
    if not starts:
        return mutate_bytes(data, rng)
    index = int(rng.integers(min(len(starts), 4))) if rng.random() < 0.7 else int(rng.integers(len(starts)))
    start, end = starts[index], [*starts, len(data)][index + 1]
    page = bytearray(mutate_bytes(data[start + 4 : end], rng)[0])
    if len(page) > 22:
        page = bytearray(b"OggS") + page
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", _ogg_crc(page))
    return data[:start] + bytes(page) + data[end:], f"page {index}"


def _ogg_crc(data: bytes | bytearray) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7) & 0xFFFFFFFF if crc & 0x80000000 else crc << 1
    return crc


def mutate_flac(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Metadata blocks, of which the first has rate, channels and length."""
    blocks, at, last = [], 4, False
    while not last and at + 4 <= len(data):
        last, kind = bool(data[at] & 128), data[at] & 127
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        blocks.append((bytes([kind]), data[at + 4 : at + 4 + length]))
        at += 4 + length
    what = _edit_chunks(blocks, rng)
    head = b"".join(
        bytes([name[0] | (128 if index == len(blocks) - 1 else 0)])
        + (len(content) % 2**24).to_bytes(3, "big")
        + content
        for index, (name, content) in enumerate(blocks)
    )
    return data[:4] + head + data[at:], what


def mutate_safetensors(data: bytes, rng: Random) -> tuple[bytes, str]:
    """The header as JSON, its length, or the values."""
    (length,) = struct.unpack_from("<Q", data)
    header, body = data[8 : 8 + length], data[8 + length :]
    what = pick(rng, ["header", "header", "header", "rename", "drop", "shape", "length", "values", "values"])
    if what == "header":
        header, detail = mutate_json(header, rng)
    elif what in ("rename", "drop", "shape"):
        tree = json.loads(header)
        names = [name for name in tree if name != "__metadata__"]
        name = detail = pick(rng, names)
        if what == "rename":
            tree[
                pick(rng, [name + ".x", name[:-1], "weight/" + name, "optimizer/x/y", "ema/", "a/b/c/d"])
            ] = tree.pop(name)
        elif what == "drop":
            # The values stay in place, so another tensor covers them.
            gone = tree.pop(name)
            tree["unused"] = (
                gone
                if rng.random() < 0.5
                else {**gone, "dtype": "U8", "shape": [gone["data_offsets"][1] - gone["data_offsets"][0]]}
            )
        else:
            shape = tree[name]["shape"]
            tree[name]["shape"] = pick(
                rng, [shape[::-1], [*shape, 1], [1, *shape], [int(np.prod(shape))], [*shape, 1, 1]]
            )
        header = json.dumps(tree).encode()
    elif what == "length":
        return struct.pack("<Q", extreme(rng, 8)) + header + body, "length"
    else:
        detail = ""
        start = 4 * int(rng.integers(max(1, len(body) // 4)))
        special = pick(rng, [np.float32("nan"), np.float32("inf"), np.float32(1e38), np.float32(-1)])
        count = pick(rng, [1, 1000])
        new = np.full(count, special, np.float32).tobytes()
        body = (body[:start] + new + body[start + len(new) :])[: len(body)]
    return struct.pack("<Q", len(header)) + header + body, f"{what} {detail[:60]}"


def mutate_zip(data: bytes, rng: Random) -> tuple[bytes, str]:
    """One entry of a torch pickle or of an .npz, in an archive with right checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(info.filename.encode(), archive.read(info)) for info in archive.infolist()]
    except (zipfile.BadZipFile, OSError):
        return mutate_bytes(data, rng)
    index = next((i for i, (name, _) in enumerate(entries) if name.endswith(b"data.pkl")), None)
    if index is not None and rng.random() < 0.6:
        content, what = mutate_pickle(entries[index][1], rng)
        entries[index] = entries[index][0], content
    elif entries and entries[0][0].endswith(b".npy"):
        index = int(rng.integers(len(entries)))
        content, what = mutate_npy(entries[index][1], rng) if rng.random() < 0.8 else (b"", "empty")
        entries[index] = entries[index][0], content
        what = f"{entries[index][0]!r}: {what}"
    else:
        what = _edit_chunks(entries, rng)
    out = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    seen: set[bytes] = set()
    with zipfile.ZipFile(out, "w", kind) as archive:
        for name, content in entries:
            if name not in seen:
                archive.writestr(name.decode("utf-8", "replace"), content)
            seen.add(name)
    return out.getvalue(), what


def mutate_pickle(data: bytes, rng: Random) -> tuple[bytes, str]:
    """Bytes of a pickle, or one of its names or small numbers."""
    words = [
        b"weight",
        b"bias",
        b"dims",
        b"state_dict",
        b"FloatStorage",
        b"cpu",
        b"torch",
        b"_rebuild_tensor_v2",
        b"OrderedDict",
        b"collections",
    ]
    found = [word for word in words if word in data]
    if found and rng.random() < 0.4:
        word = pick(rng, found)
        new = (
            bytes(rng.permutation(np.frombuffer(word, np.uint8)))
            if rng.random() < 0.5
            else pick(rng, words)[: len(word)].ljust(len(word), b"x")
        )
        where = [at for at in range(len(data)) if data.startswith(word, at)]
        at = pick(rng, where)
        return data[:at] + new + data[at + len(word) :], f"name {word!r}"
    small = [at for at in range(len(data) - 1) if data[at : at + 1] in (b"K", b"M", b"J")]
    if small and rng.random() < 0.6:
        at = pick(rng, small)
        size = {b"K": 1, b"M": 2, b"J": 4}[data[at : at + 1]]
        return data[: at + 1] + extreme(rng, size).to_bytes(size, "little") + data[at + 1 + size :], "number"
    return mutate_bytes(data, rng)


_DTYPES: Final = (
    "|O",
    "<U100000",
    "|V7",
    "<f8",
    "<c16",
    "<M8[s]",
    "|b1",
    "<i8",
    "|S0",
    ">f4",
    "<f2",
    "<U3",
    [("a", "<f4")],
    "nonsense",
    7,
)


def mutate_npy(data: bytes, rng: Random) -> tuple[bytes, str]:
    """The header's shape, number type or order with a right length; or the values."""
    try:
        length = struct.unpack_from("<H", data, 8)[0]
        header: dict[str, Any] = ast.literal_eval(data[10 : 10 + length].decode())
    except (struct.error, ValueError, SyntaxError):
        return mutate_bytes(data, rng)
    body = data[10 + length :]
    what = pick(rng, ["shape", "shape", "descr", "descr", "fortran", "keys", "raw", "values"])
    shape = header["shape"]
    if what == "shape":
        header["shape"] = pick(
            rng,
            [
                (),
                shape[::-1],
                (*shape, 1),
                (1, *shape),
                shape[:-1],
                (0,),
                (-1,),
                (2**62,),
                (10**9, 4),
                (2**31, 2**31),
                (2**33,),
                tuple(2 * n for n in shape),
                (1.5,),
                "x",
                None,
            ],
        )
    elif what == "descr":
        header["descr"] = pick(rng, _DTYPES)
    elif what == "fortran":
        header["fortran_order"] = pick(rng, [True, 7, None])
    elif what == "keys":
        header = mutate_tree(header, rng)[0]
    elif what == "raw":
        return mutate_bytes(data, rng)
    else:
        body = (
            np.full(len(body) // 2, pick(rng, [np.nan, np.inf, -1, 6e4]), np.float16).tobytes()
            + body[: len(body) % 2]
        )
    text = repr(header).encode("utf-8", "replace")[:60_000]
    text += b" " * (-(11 + len(text)) % 64) + b"\n"
    return data[:8] + struct.pack("<H", len(text)) + text + body, what


Mutator = Callable[[bytes, Random], tuple[bytes, str]]
_OF_CONTENT: Final[tuple[tuple[bytes, Mutator], ...]] = (
    (b"\x89PNG", mutate_png),
    (b"RIFF", mutate_riff),
    (b"FORM", mutate_riff),
    (b"II*\0", mutate_tiff),
    (b"MM\0*", mutate_tiff),
    (b"\xff\xd8", mutate_jpeg),
    (b"\x1aE\xdf\xa3", mutate_ebml),
    (b"OggS", mutate_ogg),
    (b"fLaC", mutate_flac),
    (b"PK\3\4", mutate_zip),
    (b"\x93NUMPY", mutate_npy),
)
_OF_NAME: Final[dict[str, Mutator]] = {
    ".json": mutate_json,
    ".yaml": mutate_yaml,
    ".safetensors": mutate_safetensors,
}


def mutate_file(name: str, data: bytes, rng: Random) -> tuple[bytes, str]:
    """Other bytes for a file, by its structure if it is known, and what was changed."""
    mutator = _OF_NAME.get(PurePath(name).suffix)
    mutator = mutator or next((m for start, m in _OF_CONTENT if data.startswith(start)), None)
    if mutator is None and data[4:8] == b"ftyp":
        mutator = mutate_boxes
    if mutator is None or not data or rng.random() < 0.25:
        return mutate_bytes(data, rng)
    try:
        changed, what = mutator(data, rng)
    except (struct.error, IndexError, KeyError):  # an earlier mutation of this file broke its structure
        return mutate_bytes(data, rng)
    return changed, f"{mutator.__name__.removeprefix('mutate_')} {what}"
