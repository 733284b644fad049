"""Damaged data of training: one clear error that names the file, without memory for what it claims."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.array_files import ArrayKind, read_array, read_arrays
from openemo.data.landmark_tracks import load_track
from openemo.data.sequences import FrameSequence
from openemo.data.songs import Song
from openemo.errors import TrainingError
from openemo.training.datasets.latent_sequences import LatentSequence
from openemo.training.datasets.sync_data import SyncData
from openemo.training.datasets.voice_files import load_voices

TRACK = np.linspace(0, 1, 3 * 478 * 3, dtype=np.float32).reshape(3, 478, 3)


@contextmanager
def within_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def npy(array: NDArray[Any] | np.float32) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


def with_header(text: str) -> bytes:
    header = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("was_run",)


def pickled() -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([Trap()], object), allow_pickle=True)
    return data.getvalue()


BROKEN = {
    "nothing": b"",
    "text": b"no numbers",
    "a pickle": pickle.dumps(Trap()),
    "pickled objects": pickled(),
    "cut in the header": npy(TRACK)[:50],
    "cut in the data": npy(TRACK)[:-7],
    "1e12 elements": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 478, 3), }"),
    "endless digits": with_header(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 40 + ", 478, 3)}"
    ),
    "negative": with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 478, 3), }"),
    "deep header": with_header("(" * 60 + ")" * 58),
    "no header": with_header("{}"),
    "long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{}",
    "unknown version": b"\x93NUMPY\x09\x00" + npy(TRACK)[8:],
    "another type": npy(TRACK.astype(np.float64)),
    "another shape": npy(TRACK[:, :400]),
    "one number": npy(np.float32(1)),
    "records": npy(np.zeros(3, [("a", "f4"), ("b", "i4")])),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damaged_arrays(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "clip.npy"
    path.write_bytes(BROKEN[kind])
    with within_memory(), pytest.raises(TrainingError, match=r"clip\.npy"):
        load_track(path)
    assert [found.name for found in tmp_path.iterdir()] == ["clip.npy"]


def test_whole_arrays_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", TRACK)
    assert np.array_equal(load_track(tmp_path / "a.npy"), TRACK)
    np.savez(tmp_path / "a.npz", x=TRACK, name="clip", count=3)
    kinds = {"x": ArrayKind(np.float32), "name": ArrayKind(np.str_, ()), "count": ArrayKind(np.int64, ())}
    arrays = read_arrays(tmp_path / "a.npz", kinds)
    assert np.array_equal(arrays["x"], TRACK)
    assert (str(arrays["name"]), int(arrays["count"])) == ("clip", 3)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    for path in (tmp_path / "pipe.npy", tmp_path / "none.npy", tmp_path, Path("/dev/zero")):
        with pytest.raises(TrainingError, match="cannot be read"):
            read_array(path, ArrayKind(np.float32))


def test_a_packed_archive_could_grow_without_limit(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(20_000_000, np.float32))
    with within_memory(), pytest.raises(TrainingError, match="packed"):
        read_arrays(tmp_path / "a.npz", {"x": ArrayKind(np.float32)})


LOADS: dict[str, tuple[Callable[[Path], object], dict[str, NDArray[Any]]]] = {
    "sequence": (
        FrameSequence.load,
        {
            "jpeg": np.zeros(30, np.uint8),
            "ends": np.array([10, 20, 30]),
            "points_px": np.zeros((3, 478, 2), np.float32),
            "depth_px": np.zeros(478, np.float32),
            "size_px": np.array(64),
            "clip": np.array("a"),
            "first_frame": np.array(0),
            "speed_rad_s": np.zeros(2, np.float32),
        },
    ),
    "song": (Song.load, {"tokens": np.zeros((4, 8), np.float16), "frames": np.zeros(3)}),
    "latents": (
        LatentSequence.load,
        {
            "latents": np.zeros((5, 4, 3, 2), np.float16),
            "features": np.zeros((6, 3, 2), np.float16),
            "boxes": np.zeros((5, 4), np.float32),
            "face": np.zeros((478, 3), np.float32),
            "expressions": np.zeros((8, 4, 3, 2), np.float16),
            "depth": np.zeros((32, 32), np.float32),
            "clip": np.array("a"),
            "first_frame": np.array(0),
            "speed_rad_s": np.zeros(5, np.float32),
        },
    ),
    "mouths": (
        SyncData.load,
        {
            "crops": np.zeros((9, 4, 3), np.uint8),
            "starts": np.array([0, 4, 9]),
            "clips": np.array([0, 1]),
            "first_frames": np.array([0, 0]),
            "driven": np.array([False, True]),
            "voices": np.zeros((2, 3, 5, 80), np.float16),
        },
    ),
}


@pytest.mark.parametrize("kind", LOADS)
def test_archives_that_lack_a_part_or_whose_parts_do_not_fit(kind: str, tmp_path: Path) -> None:
    load, arrays = LOADS[kind]
    path = tmp_path / "a.npz"
    np.savez(path, allow_pickle=True, **arrays)
    load(path)
    whole = path.read_bytes()
    changes = [{name: np.array([Trap()], object)} for name in arrays]
    changes += [
        {name: array.astype(np.complex64)} for name, array in arrays.items() if array.dtype.kind != "U"
    ]
    changes += [{name: array[None]} for name, array in arrays.items()]
    if kind == "sequence":
        changes += [{"ends": np.array(ends)} for ends in ([10, 5, 30], [10, 20, 31], [30], [10, -1, 5])]
    if kind != "song":
        changes += [
            {name: arrays[name][:-1]} for name in ("speed_rad_s", "starts", "boxes") if name in arrays
        ]
    if kind == "mouths":
        changes += [{"clips": np.array(clips)} for clips in ([0, 2], [-1, 0])]
        changes += [{"starts": np.array(starts)} for starts in ([0, 4, 8], [1, 4, 9], [0, 9, 4], [0, 0, 9])]
    for change in changes:
        np.savez(path, allow_pickle=True, **(arrays | change))
        with pytest.raises(TrainingError, match=r"a\.npz"):
            load(path)
    for name in arrays:
        np.savez(
            path, allow_pickle=True, **{other: array for other, array in arrays.items() if other != name}
        )
        with pytest.raises(TrainingError, match=name):
            load(path)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match=r"a\.npz"):
            load(path)


def test_random_damage_never_ends_in_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for kind, (load, arrays) in LOADS.items():
        path = tmp_path / f"{kind}.npz"
        np.savez(path, allow_pickle=True, **arrays)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            places = rng.integers(len(damaged), size=rng.integers(1, 9))
            damaged[places] = rng.integers(256, size=len(places))
            path.write_bytes(damaged.tobytes())
            with suppress(TrainingError):
                load(path)


def test_a_picture_of_a_sequence_that_is_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", allow_pickle=True, **LOADS["sequence"][1])
    with pytest.raises(TrainingError, match="picture 1"):
        FrameSequence.load(tmp_path / "a.npz").picture(1)


def test_voices_name_the_damaged_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.0.npy", np.zeros((3, 8), np.float16))
    assert load_voices(tmp_path).keys() == {"a"}
    (tmp_path / "b.0.npy").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"b\.0\.npy"):
        load_voices(tmp_path)


def test_an_archive_inside_is_no_file_of_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("tokens.npy", b"x")
        archive.writestr("../../frames.npy", npy(np.zeros(3)))
    with pytest.raises(TrainingError):
        Song.load(tmp_path / "a.npz")
