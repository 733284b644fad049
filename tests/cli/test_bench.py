"""`openemo bench` measures, and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from openemo.cli.main import main


def measured(*options: str) -> Any:
    """A process of its own: it limits the cores of the one that it runs in."""
    command = [
        sys.executable,
        "-m",
        "openemo",
        "bench",
        "--seconds",
        "0.48",
        "--size-px",
        "160",
        *options,
        "--json",
    ]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_speed_on_one_core() -> None:
    found = measured("--cores", "1", "--engine", "torch")
    (row,) = found["table"]
    assert row["cores"] == 1
    assert found["seconds_per_second"] == row["seconds_per_second"] > 0.01
    assert 0 < row["first_frame_s"] < 0.48 * row["seconds_per_second"] + 0.1
    assert 200 < found["peak_mib"] < 4_000


@pytest.mark.slow
def test_profile_has_every_step_and_the_networks() -> None:
    found = measured("--profile", "--engine", "torch")
    stages = {row["stage"]: row for row in found["stages"]}
    assert {name[0] for name in stages if name[0].isdigit()} == set("12345789")
    assert {"EmoUNet", "ReferenceNet", "MotionDecoder", "encoding"} <= set(stages)
    assert all(row["ms"] > 0 for row in stages.values())
    assert stages["EmoUNet"]["gflop"] == pytest.approx(0.85, rel=0.5)
    per_frame = sum(row["ms"] for row in stages.values() if row["per"] == "frame")
    assert found["frame_ms"] == pytest.approx(per_frame, abs=0.1)


def test_more_cores_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--cores", "100000"]) == 1
    assert "so many cores cannot be measured" in capsys.readouterr().err
