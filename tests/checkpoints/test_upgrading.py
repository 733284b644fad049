"""Checkpoints of an earlier version get the names of this one, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from openemo.checkpoints import verify_hashes, write_hashes
from openemo.checkpoints.upgrading import upgrade
from openemo.checkpoints.verifying import verify
from openemo.cli.main import main
from openemo.errors import CheckpointError, OutputError
from openemo.pipeline import EmoPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
OLD_TENSORS = {"motion_condition_encoder.": "gesture_encoder.", "locator_scale.": "place_gain."}


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def old_name(name: str) -> str:
    for new, old in OLD_TENSORS.items():
        name = name.replace(new, old)
    return name


@pytest.fixture
def old_dir(tiny_dir: Path, tmp_path: Path) -> Path:
    """The tiny checkpoint as an earlier version wrote it."""
    folder = tmp_path / "old"
    shutil.copytree(tiny_dir, folder)

    def age_index(index: dict[str, Any]) -> None:
        index["components"]["speech_encoder"] = "SpeechEncoder"
        index["pipeline"]["num_steps"] = index["pipeline"].pop("num_inference_steps")
        index["pipeline"]["guidance_over"] = "sound"

    def age_unet(config: dict[str, Any]) -> None:
        config["num_gestures"] = config.pop("num_motion_conditions")

    def age_autoencoder(config: dict[str, Any]) -> None:
        assert config["reference_norm"] == "group"
        config["reference_norm"] = "map"

    edit(folder / "model_index.json", age_index)
    edit(folder / "unet" / "config.json", age_unet)
    edit(folder / "autoencoder" / "config.json", age_autoencoder)
    weights = folder / "unet" / WEIGHTS
    tensors = load_file(weights)
    aged = {old_name(name): tensor for name, tensor in tensors.items()}
    assert aged.keys() != tensors.keys()
    save_file(aged, weights, metadata={"format": "pt"})
    write_hashes(folder)
    return folder


def test_an_old_checkpoint_becomes_the_same_as_a_new_one(
    old_dir: Path, tiny_dir: Path, tiny_pipeline: EmoPipeline, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError):
        EmoPipeline.from_pretrained(old_dir)
    output = tmp_path / "new"
    assert main(["weights", "upgrade", str(old_dir), "-o", str(output)]) == 0
    verify_hashes(output)
    assert verify(output)
    files = sorted(path.relative_to(tiny_dir) for path in tiny_dir.rglob("*"))
    assert sorted(path.relative_to(output) for path in output.rglob("*")) == files
    for file in files:
        if file.suffix == ".safetensors":
            made, expected = load_file(output / file), load_file(tiny_dir / file)
            assert made.keys() == expected.keys()
            assert all(torch.equal(made[name], tensor) for name, tensor in expected.items())
            assert all(made[name].dtype == tensor.dtype for name, tensor in expected.items())
        elif file.suffix == ".json":
            assert json.loads((output / file).read_text()) == json.loads((tiny_dir / file).read_text())
    assert EmoPipeline.from_pretrained(output).config == tiny_pipeline.config


def test_an_export_without_hashes_stays_without(old_dir: Path, tmp_path: Path) -> None:
    """Training stages export networks alone."""
    export = tmp_path / "export"
    shutil.copytree(old_dir / "unet", export / "unet")
    upgrade(export, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == ["config.json", WEIGHTS, "unet"]
    assert "num_motion_conditions" in json.loads((tmp_path / "new" / "unet" / "config.json").read_text())


def test_what_cannot_be_upgraded_is_refused(
    old_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, empty = tmp_path / "new", tmp_path / "empty"
    empty.mkdir()
    for source in (empty, tmp_path / "nowhere"):
        assert main(["weights", "upgrade", str(source), "-o", str(output)]) == 1
        assert "no networks to upgrade" in capsys.readouterr().err
    with pytest.raises(OutputError):
        upgrade(old_dir, old_dir)
    weights = old_dir / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="damaged"):
        upgrade(old_dir, output)
    assert not output.exists()
