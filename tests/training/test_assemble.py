"""A checkpoint of trained networks on the base of another, and what the command refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from openemo.cli.main import EXIT_ERROR, main
from openemo.pipeline import EmoPipeline
from openemo.training.audio_exports import AUDIO_LAYERS_NAME, is_audio_layer


def test_a_base_gives_all_but_the_trained_networks(
    tiny_dir: Path, tiny_pipeline: EmoPipeline, tmp_path: Path
) -> None:
    """As after a stage that started from `openemo weights combine`: the base has the rest."""
    trained = tmp_path / "export"
    for name in ("unet", "reference_net", "scheduler"):
        getattr(tiny_pipeline, name).save_pretrained(trained / name)
    moved = tiny_pipeline.unet.state_dict()
    network = type(tiny_pipeline.unet).from_pretrained(trained / "unet")
    assert network.conv_in.bias is not None
    with torch.no_grad():
        network.conv_in.bias.add_(1)
    network.save_pretrained(trained / "unet")

    command = ["assemble", "--base", str(tiny_dir), "--networks", str(trained)]
    assert main([*command, "-o", str(tmp_path / "made"), "--steps", "7"]) == 0
    made = EmoPipeline.from_pretrained(tmp_path / "made")
    assert made.config == tiny_pipeline.config.override(num_inference_steps=7)
    changed = {
        name
        for name, value in made.unet.state_dict().items()
        if not torch.allclose(value, moved[name], atol=1e-3, rtol=1e-3)  # float16 on disk
    }
    assert changed == {"conv_in.bias"}
    for name in ("reference_net", "autoencoder"):
        theirs = getattr(tiny_pipeline, name).state_dict()
        for key, value in getattr(made, name).state_dict().items():
            torch.testing.assert_close(value, theirs[key], atol=1e-3, rtol=1e-3)
    assert made.speech_encoder.options() == tiny_pipeline.speech_encoder.options()


def test_the_mean_of_exports(tiny_pipeline: EmoPipeline, tmp_path: Path) -> None:
    """Each weight is the mean, with one that is given twice; the audio layers lie beside it."""
    exports = [tmp_path / name for name in ("a", "b")]
    for value, export in zip((0.0, 3.0), exports, strict=True):
        for name in ("unet", "reference_net", "scheduler"):
            getattr(tiny_pipeline, name).save_pretrained(export / name)
        for name in ("unet", "reference_net"):
            network = type(getattr(tiny_pipeline, name)).from_pretrained(export / name)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.fill_(value)
            network.save_pretrained(export / name)
    a, b = map(str, exports)
    assert main(["average", a, b, b, "-o", str(tmp_path / "mean")]) == 0
    mean = type(tiny_pipeline.unet).from_pretrained(tmp_path / "mean/unet")
    assert all(torch.equal(each, torch.full_like(each, 2.0)) for each in mean.parameters())
    layers = load_file(tmp_path / "mean" / AUDIO_LAYERS_NAME)
    assert layers
    assert set(layers) == set(filter(is_audio_layer, mean.state_dict()))


def test_one_export_has_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", str(tmp_path / "a"), "-o", str(tmp_path / "mean")]) == EXIT_ERROR
    assert "nothing to average" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize(
    "sources",
    [
        [],
        ["--face-weights", "f"],
        ["--base", "b", "--face-weights", "f"],
        ["--base", "b", "--face-weights", "f", "--speech-weights", "s", "--autoencoder", "a"],
    ],
    ids=["none", "a part", "base and a part", "both"],
)
def test_sources_that_are_not_one_are_refused(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "made"
    assert main(["assemble", "--networks", "n", *sources, "-o", str(output)]) == EXIT_ERROR
    assert "--base" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_other_audio_layers_replace_those_of_the_network(embedded_dir: Path, tmp_path: Path) -> None:
    before = load_file(embedded_dir / "unet" / "diffusion_pytorch_model.safetensors")
    moved = {name: value.float() + 0.25 for name, value in before.items() if is_audio_layer(name)}
    (tmp_path / "refined").mkdir()
    save_file(moved, tmp_path / "refined" / "audio_layers.safetensors")
    parts = {"autoencoder": "autoencoder", "speech-weights": "speech_encoder", "face-weights": "face"}
    command = ["assemble", "--audio", str(tmp_path / "refined"), "-o", str(tmp_path / "made")]
    for option, name in ({"networks": ""} | parts).items():
        command += [f"--{option}", str(embedded_dir / name)]
    assert main(command) == 0
    after = load_file(tmp_path / "made" / "unet" / "diffusion_pytorch_model.safetensors")
    assert {name for name, value in after.items() if not torch.equal(value, before[name])} == set(moved)
    made = EmoPipeline.from_pretrained(tmp_path / "made")
    embedded = EmoPipeline.from_pretrained(embedded_dir)
    assert made.speech_encoder.options() == embedded.speech_encoder.options()


def test_other_audio_layers_need_all_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["assemble", "--base", "embedded", "--audio", str(tmp_path), "--networks", str(tmp_path)]
    assert main([*command, "-o", str(tmp_path / "made")]) == EXIT_ERROR
    assert "--speech-weights" in capsys.readouterr().err
