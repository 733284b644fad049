"""Checkpoint folders: what is saved is loaded again, and every defect gives a clear error."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from openemo import checkpoints
from openemo.audio import Audio
from openemo.checkpoints.components import load_network
from openemo.errors import CheckpointError
from openemo.models import EmoUNet
from openemo.pipeline import EmoPipeline

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_dir, tmp_path / "model"))


def edit_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_what_is_saved_comes_back(tiny_pipeline: EmoPipeline, tiny_dir: Path, portrait_path: Path) -> None:
    loaded = EmoPipeline.from_pretrained(tiny_dir)
    assert loaded.config == tiny_pipeline.config
    assert type(loaded.scheduler) is type(tiny_pipeline.scheduler)
    assert loaded.speech_encoder.options() == tiny_pipeline.speech_encoder.options()
    sound = Audio(np.linspace(-0.2, 0.2, 4_800, dtype=np.float32)[None] ** 3, 16_000)
    videos = [
        list(pipeline(portrait_path, sound, framing="crop", size_px=64))
        for pipeline in (loaded, tiny_pipeline)
    ]
    assert np.array_equal(np.stack(videos[0]), np.stack(videos[1]))


def test_saving_casts_the_files_and_not_the_networks(tiny_pipeline: EmoPipeline, tmp_path: Path) -> None:
    tiny_pipeline.save_pretrained(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / UNET_WEIGHTS).values()} == {torch.float16}
    assert tiny_pipeline.unet.dtype == torch.float32
    assert EmoPipeline.from_pretrained(tmp_path).unet.dtype == torch.float32
    assert EmoPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16).autoencoder.dtype == torch.bfloat16


def test_a_weight_too_large_for_the_file_is_an_error(tiny_pipeline: EmoPipeline, tmp_path: Path) -> None:
    bias = tiny_pipeline.unet.conv_out.bias
    assert bias is not None
    kept = bias.detach().clone()
    with torch.no_grad():
        bias.fill_(1e6)
    with pytest.raises(CheckpointError, match=r"conv_out.bias is not finite as torch.float16"):
        tiny_pipeline.save_pretrained(tmp_path)
    with torch.no_grad():
        bias.copy_(kept)


def test_loading_takes_nothing_from_the_random_state(tiny_dir: Path) -> None:
    before = torch.get_rng_state()
    EmoPipeline.from_pretrained(tiny_dir)
    assert torch.equal(before, torch.get_rng_state())


def test_hashes_are_those_of_sha256sum(tiny_dir: Path) -> None:
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tiny_dir, capture_output=True
    )
    assert check.returncode == 0, check.stderr


def test_damaged_files(folder: Path) -> None:
    path = folder / UNET_WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match=r"unet.diffusion.*is damaged or was changed; got sha256"):
        EmoPipeline.from_pretrained(folder)
    with pytest.raises(CheckpointError, match=r"unet.diffusion.*cannot be read"):
        EmoPipeline.from_pretrained(folder, verify=False)
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(CheckpointError, match="is damaged or was changed"):
        EmoPipeline.from_pretrained(folder)
    EmoPipeline.from_pretrained(folder, verify=False)  # not checked on request
    path.unlink()
    with pytest.raises(CheckpointError, match=r"a file of the checkpoint is missing; got no .*unet"):
        EmoPipeline.from_pretrained(folder)


def test_a_file_without_hash(folder: Path) -> None:
    (folder / "unet" / "extra.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is not listed in SHA256SUMS"):
        EmoPipeline.from_pretrained(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(CheckpointError, match="no SHA256SUMS in"):
        EmoPipeline.from_pretrained(folder)


def test_wrong_keys(folder: Path) -> None:
    weights = load_file(folder / UNET_WEIGHTS)
    weights["conv_in_renamed.weight"] = weights.pop("conv_in.weight")
    save_file(weights, folder / UNET_WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"do not fit config\.json; got .*conv_in\.weight.*conv_in_renamed"
    ):
        load_network(EmoUNet, folder / "unet")


def test_wrong_shapes_and_settings(folder: Path) -> None:
    config = folder / "unet" / "config.json"
    edit_json(config, lambda values: values.update(audio_dim=13))
    with pytest.raises(CheckpointError, match=r"do not fit config\.json; got .*size mismatch"):
        load_network(EmoUNet, folder / "unet")
    edit_json(config, lambda values: values.update(audio_width=10))
    with pytest.raises(CheckpointError, match="settings that EmoUNet does not know; got audio_width"):
        load_network(EmoUNet, folder / "unet")
    config.write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_network(EmoUNet, folder / "unet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda index: index["components"].update(unet="OtherNet"),
            "'unet' is of an unknown class; got OtherNet",
        ),
        (
            lambda index: index["components"].pop("autoencoder"),
            "'autoencoder' is of an unknown class; got none",
        ),
        (
            lambda index: index["components"].update(scheduler="UNet2DModel"),
            "another scheduler than scheduler_config.json; got UNet2DModel",
        ),
        (lambda index: index["pipeline"].update(clips=5), "`clips` of the pipeline is wrong"),
        (lambda index: index["pipeline"].update(motion_frames=6), r"motion_frames \(6\) must not exceed"),
        (lambda index: index.pop("licence"), "damaged at `licence`; expected field required"),
        (lambda index: index.update(colour="red"), "setting that this version does not know; got colour"),
        (lambda index: index["speech"].update(edges="repeat"), r"got speech.*edges.*weights upgrade"),
    ],
)
def test_wrong_index(folder: Path, change: Callable[[dict[str, object]], object], message: str) -> None:
    edit_json(folder / "model_index.json", change)
    with pytest.raises(CheckpointError, match=message):
        EmoPipeline.from_pretrained(folder, verify=False)


def test_a_scheduler_that_is_none(folder: Path) -> None:
    edit_json(folder / "scheduler" / "scheduler_config.json", lambda c: c.update(_class_name="UNet2DModel"))
    with pytest.raises(CheckpointError, match="scheduler is of an unknown class; got UNet2DModel"):
        EmoPipeline.from_pretrained(folder, verify=False)


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r'got .*nowhere.*; expected "embedded", a folder, or "hub:owner/name"'
    ):
        EmoPipeline.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"not a checkpoint; got no model_index\.json"):
        EmoPipeline.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be fetched from the hub"):
        checkpoints.resolve("hub:not a name")


def test_embedded_weights_are_whole_and_small(embedded_dir: Path) -> None:
    checkpoints.verify_hashes(embedded_dir)
    assert sum(file.stat().st_size for file in embedded_dir.rglob("*")) < 100e6
