"""Files are complete or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openemo import files
from openemo.errors import CheckpointError, OutputError
from openemo.files import (
    fresh_folder,
    read_bounded,
    read_json,
    remove_leftovers,
    temporary_folder,
    whole_file,
)

# What a run does that is then killed: each writes into FOLDER and waits.
RUNS = {
    "a file": "with whole_file(folder / 'a.json') as file: file.write(b'half'); file.flush(); wait()",
    "a folder": "with fresh_folder(folder / 'model') as new: (new / 'a').write_bytes(b'half'); wait()",
    "a temporary folder": "with temporary_folder(folder) as new: (new / 'a').write_bytes(b'half'); wait()",
    "a video": (
        "from fractions import Fraction; import numpy as np\n"
        "from openemo.video.video_writer import VideoWriter\n"
        "with VideoWriter(folder / 'v.mp4', fps=Fraction(25), width=64, height=64, audio=None) as video:\n"
        "    video.write(np.zeros((64, 64, 3), np.uint8)); wait()"
    ),
    "a training state": (
        "import torch; from openemo.training import training_state as module\n"
        "from openemo.training.recipes import LoopRecipe\n"
        "recipe = LoopRecipe(output='o', data='d', steps=1, learning_rate=1)\n"
        "module.save_file = lambda tensors, path, metadata: (path.write_bytes(b'half'), wait())\n"
        "module.TrainingState({'a': torch.nn.Linear(2, 3)}, recipe).save(folder)"
    ),
}
START = """
import sys, time; from pathlib import Path
from openemo.files import whole_file, fresh_folder, temporary_folder
folder = Path(sys.argv[1])
def wait(): print('writing', flush=True); time.sleep(600)
"""


def test_a_complete_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for text in (b"first", b"second"):
        before = path.read_bytes() if path.exists() else None
        with whole_file(path) as file:
            file.write(text)
            file.flush()
            assert (path.read_bytes() if path.exists() else None) == before
            assert not [found for found in tmp_path.glob("*.npz") if found != path]
        assert path.read_bytes() == text
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"first")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"first"


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "data.npz", tmp_path / "a.npz"
    target.write_bytes(b"first")
    link.symlink_to(target)
    with whole_file(link) as file:
        file.write(b"second")
    assert link.readlink() == target
    assert not target.is_symlink()
    assert target.read_bytes() == b"second"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.npz", "data.npz", "elsewhere"]


@contextmanager
def running(kind: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of writing."""
    command = [sys.executable, "-c", START + RUNS[kind], str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def partials(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".partial" in path.name]


@pytest.mark.parametrize("kind", RUNS)
def test_what_killed_runs_left_is_removed_and_what_live_ones_write_is_not(kind: str, tmp_path: Path) -> None:
    theirs = tmp_path / ".openemo-notes.partial"  # of no run: another name
    other = tmp_path / ".download.partial"
    for path in (theirs, other):
        path.write_bytes(b"mine")
    with running(kind, tmp_path) as process:
        (written,) = (path for path in partials(tmp_path) if path not in (theirs, other))
        remove_leftovers(tmp_path)
        assert written.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert written.exists()
        files._looked_at.clear()  # as a later run has none
        with whole_file(tmp_path / "later.json") as file:
            assert not written.exists()
            file.write(b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, theirs.name, "later.json"]


def test_a_later_run_cleans_up_before_it_makes_a_folder(tmp_path: Path) -> None:
    with running("a folder", tmp_path):
        pass
    assert len(partials(tmp_path)) == 1
    with fresh_folder(tmp_path / "model") as folder:
        assert partials(tmp_path) == [folder]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o777 & ~_umask()


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with whole_file(path) as first:
        with whole_file(path) as second:
            first.write(b"first")
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_link_of_the_right_name_leads_nowhere(tmp_path: Path) -> None:
    """Its target is not deleted, in a folder into which others can write as well."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"mine")
    for number, target in enumerate((tmp_path / "mine", tmp_path / "mine" / "file")):
        (tmp_path / f".openemo-{number:016x}.partial").symlink_to(target)
    os.mkfifo(tmp_path / f".openemo-{3:016x}.partial")
    remove_leftovers(tmp_path)
    assert (tmp_path / "mine" / "file").read_bytes() == b"mine"


def test_thousands_of_files_do_not_look_thousands_of_times(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"{number}.npy").touch()
    started = time.process_time()
    for number in range(300):
        with whole_file(tmp_path / f"{number}.npy"):
            pass
    assert time.process_time() - started < 0.5


def test_only_ordinary_files_of_bounded_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    assert read_bounded(tmp_path / "a.json", 2) == b"{}"
    with pytest.raises(OSError, match="too large"):
        read_bounded(tmp_path / "a.json", 1)
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(9 * 2**30)
    os.mkfifo(tmp_path / "pipe.json")
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "huge.json", tmp_path / "pipe.json"):
        with pytest.raises(CheckpointError):
            read_json(path)


def test_infinity_only_where_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"lambda_min_clipped": -Infinity}')
    assert read_json(path, infinity=True) == {"lambda_min_clipped": -float("inf")}
    with pytest.raises(CheckpointError, match="no number"):
        read_json(path)


def test_a_folder_that_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    with pytest.raises(OutputError, match="is there already"), fresh_folder(tmp_path / "a"):
        pass


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_temporary_folder_is_private_and_goes(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as folder:
        (folder / "a").write_bytes(b"1")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="no folder can be made"), temporary_folder(tmp_path / "gone"):
        pass
