"""The fuzzer finds planted bugs, makes the same input of the same seed, and finds nothing in a short run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzzing.structures import mutate_file

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")


def fuzz(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/fuzz.py", "-o", str(output), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)


@pytest.mark.slow
def test_every_planted_bug_is_found_as_what_it_is(tmp_path: Path) -> None:
    done = fuzz(tmp_path, "--self-test")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_dir")
def test_a_short_run_finds_no_bug(tmp_path: Path) -> None:
    done = fuzz(tmp_path, "--inputs", "120", "--seconds", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all | 120 |" in done.stdout


@pytest.mark.parametrize("name", ["tone.wav", "picture.png", "values.npy", "settings.json", "recipe.yaml"])
def test_one_seed_makes_one_input(name: str) -> None:
    data = {
        "tone.wav": b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0",
        "picture.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0\x3a\x7e\x9b\x55",
        "values.npy": b"\x93NUMPY\1\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}".ljust(80)
        + bytes(4),
        "settings.json": b'{"a": [1, 2.5, "x"], "b": {"c": null}}',
        "recipe.yaml": b"a: [1, 2.5, x]\nb: {c: null}\n",
    }[name]
    made = [[mutate_file(name, data, np.random.default_rng(seed)) for seed in range(60)] for _ in range(2)]
    assert made[0] == made[1]
    assert len({changed for changed, _ in made[0]}) > 40
