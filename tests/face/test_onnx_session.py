"""onnxruntime runs networks and does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_importing_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    """onnxruntime's telemetry would write a device id and a queue of events there, and look its host up."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    modules = "import openemo.face.onnx_session, openemo.evaluation.report.environment"
    subprocess.run([sys.executable, "-c", modules], env=environment, check=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
