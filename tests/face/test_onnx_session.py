"""onnxruntime runs networks and does nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from openemo.errors import CheckpointError
from openemo.face import FaceAnalyzer
from openemo.video.images import read_image

NETWORKS = ("face_detection_full_range.onnx", "face_landmarks_detector.onnx", "face_blendshapes.onnx")


def test_importing_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """onnxruntime's telemetry would write a device id and a queue of events there, and look its host up."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    modules = "import openemo.face.onnx_session, openemo.evaluation.report.environment"
    subprocess.run([sys.executable, "-c", modules], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def folder(face_weights_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(face_weights_dir, tmp_path / "face"))


@pytest.mark.parametrize("name", NETWORKS)
def test_damaged_networks_end_in_one_clear_error(
    name: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / name
    whole = path.read_bytes()
    others = [(folder / other).read_bytes() for other in NETWORKS if other != name]
    for content in (b"", b"no network", whole[: len(whole) // 2], whole[:-1000], whole[5000:], *others):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"face network is damaged|is another network"):
            FaceAnalyzer.from_pretrained(folder)
    path.unlink()
    for make in (os.mkdir, os.mkfifo):
        make(path)
        with pytest.raises(CheckpointError, match="face network is missing"):
            FaceAnalyzer.from_pretrained(folder)
        path.rmdir() if path.is_dir() else path.unlink()
    assert capfd.readouterr().out == ""


def test_random_damage_never_ends_in_another_error(folder: Path) -> None:
    path = folder / "face_blendshapes.onnx"
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    rng = np.random.default_rng(4)
    outcomes = set()
    for _ in range(20):
        damaged = whole.copy()
        # In the graph at the end of the file as often as in its weights.
        places = [
            *rng.integers(len(damaged), size=3),
            *rng.integers(len(damaged) - 20_000, len(damaged), size=3),
        ]
        damaged[places] = rng.integers(256, size=6)
        path.write_bytes(damaged.tobytes())
        try:
            FaceAnalyzer.from_pretrained(folder)
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_gives_no_numbers_is_damaged(name: str, folder: Path, portrait_path: Path) -> None:
    path = folder / name
    data = path.read_bytes()
    start = len(data) // 4
    path.write_bytes(data[:start] + b"\xff" * 64 + data[start + 64 :])  # weights that are NaN
    analyzer = FaceAnalyzer.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="gives no numbers"):
        analyzer.blendshapes(analyzer.find(read_image(portrait_path)))
