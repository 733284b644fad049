"""Whoever works on a video gets its share of the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from openemo.threads import num_cores

_THREADS = "import cv2, torch; print(torch.get_num_threads(), cv2.getNumThreads())"


def printed(code: str, **environment: str) -> list[str]:
    """Words that a program prints which has only just started, in the last line."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENCV_"))}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env={**own, **environment}, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()[-1].split()


_SET = (
    "import os; from openemo.threads import share_cores; share_cores({cores}); "
    "print(*(os.environ[name] for name in ('OMP_NUM_THREADS', 'OPENCV_FOR_THREADS_NUM', 'OMP_WAIT_POLICY')))"
)


@pytest.mark.parametrize(("cores", "threads"), [(1, "1"), (2, "1"), (3, "1"), (6, "3")])
def test_libraries_take_half_of_the_cores(cores: int, threads: str) -> None:
    assert printed(_SET.format(cores=cores)) == [threads, threads, "PASSIVE"]


def test_what_the_user_has_set_stays() -> None:
    given = {"OMP_NUM_THREADS": "3", "OPENCV_FOR_THREADS_NUM": "4", "OMP_WAIT_POLICY": "ACTIVE"}
    assert printed(_SET.format(cores=2), **given) == ["3", "4", "ACTIVE"]


def test_a_program_that_has_loaded_torch_is_left_alone() -> None:
    code = "import os, torch; before = dict(os.environ); from openemo.threads import share_cores; "
    assert printed(code + "share_cores(2); print(before == dict(os.environ))") == ["True"]


@pytest.mark.parametrize(
    "arguments", [["animate", "no.jpg", "no.wav", "-o", "no.mp4"], ["demo", "-o", "/dev/null/no"]]
)
def test_commands_that_make_videos_share_the_cores(arguments: list[str]) -> None:
    """Both end early, at a file that is missing and at a folder that cannot be made."""
    code = f"from openemo.cli.main import main; assert main({arguments}) == 1; {_THREADS}"
    assert printed(code) == [str(max(1, num_cores() // 2))] * 2
