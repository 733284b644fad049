"""`openemo weights` as a person runs it. The published files come from the fixtures beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from openemo import checkpoints
from openemo.checkpoints import catalogue
from openemo.checkpoints.catalogue import CATALOGUE
from openemo.cli.main import main
from openemo.cli.weights import Format
from openemo.errors import CheckpointError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENEMO_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def test_list_says_licence_use_size_and_presence(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "what", "licence", "commercial", "size", "here"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert CATALOGUE.keys() <= rows.keys()
    for name, known in CATALOGUE.items():
        assert known.licence.name in rows[name]
        assert (" yes " if known.licence.commercial else " no ") in rows[name]
        assert rows[name].rstrip().endswith("-")
    assert str(home) in lines[-1]


@pytest.mark.slow
def test_from_published_files_to_a_model_that_training_starts_from(
    sd15_folder: Path,
    wav2vec2_folder: Path,
    motion_state: Callable[..., dict[str, Tensor]],
    embedded_dir: Path,
    tmp_path: Path,
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save(motion_state(mid=True, max_frames=32), tmp_path / "mm.ckpt")
    sources = {"sd15": sd15_folder, "animatediff": tmp_path / "mm.ckpt", "wav2vec2": wav2vec2_folder}
    for form, source in sources.items():
        assert main(["weights", "import", form, str(source), "-o", str(tmp_path / form)]) == 0
        assert main(["weights", "verify", str(tmp_path / form)]) == 0
    out = capsys.readouterr().out
    assert "left over, 1 such as text_encoder/: EMO reads no text" in out
    assert "is whole" in out
    flags = [word for form in sources for word in (f"--{form}", str(tmp_path / form))]
    with pytest.raises(CheckpointError, match="weights combine"):
        checkpoints.resolve("sd15")
    assert main(["weights", "combine", *flags]) == 0
    assert "ready to train" in capsys.readouterr().out
    assert checkpoints.resolve("sd15") == home / "sd15"
    assert main(["weights", "verify", str(home / "sd15")]) == 0
    assert (home / "sd15" / "model_index.json").is_file()


def test_errors_are_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.pth").write_bytes(b"<html>")
    for arguments in (
        ["import", "hallo", str(tmp_path / "net.pth"), "-o", str(tmp_path / "out")],
        ["verify", str(tmp_path / "nowhere")],
        ["pull", "insightface"],
        ["pull", "nothing-like-it"],
    ):
        assert main(["weights", *arguments]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("openemo: error: ")


def test_formats_are_those_of_the_catalogue() -> None:
    assert get_args(Format) == get_args(catalogue.Format)
