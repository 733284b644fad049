"""The published folders of Hallo and EchoMimic, with tensors of the recorded cases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from openemo.checkpoints.components import load_network
from openemo.checkpoints.families import published_folders
from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.verifying import verify
from openemo.errors import CheckpointError
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config


def floats(path: Path) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(path).items()}


@pytest.fixture
def hallo_folder(shared_dir: Path, wav2vec2_folder: Path, sd15_vae: AutoencoderKL, tmp_path: Path) -> Path:
    folder = tmp_path / "pretrained_models"
    (folder / "hallo").mkdir(parents=True)
    parts = (
        floats(shared_dir / f"parity/hallo_{name}/weights.safetensors")
        for name in ("unet", "reference", "conditioning")
    )
    torch.save({key: tensor for part in parts for key, tensor in part.items()}, folder / "hallo" / "net.pth")
    sd15_vae.save_pretrained(folder / "sd-vae-ft-mse")
    shutil.copytree(wav2vec2_folder, folder / "wav2vec" / "wav2vec2-base-960h")
    (folder / "face_analysis").mkdir()
    return folder


@pytest.fixture
def echomimic_folder(shared_dir: Path, openai_whisper: Path, sd15_vae: AutoencoderKL, tmp_path: Path) -> Path:
    folder, parity = tmp_path / "pretrained_weights", shared_dir / "parity"
    (folder / "audio_processor").mkdir(parents=True)
    files = {
        "denoising_unet": "echomimic_unet/weights",
        "motion_module": "echomimic_unet/motion_module",
        "reference_unet": "echomimic_reference/weights",
        "face_locator": "echomimic_pipeline/face_locator",
    }
    for stem, source in files.items():
        torch.save(floats(parity / f"{source}.safetensors"), folder / f"{stem}.pth")
    for stem in ("denoising_unet", "motion_module"):
        shutil.copy(folder / f"{stem}.pth", folder / f"{stem}_acc.pth")
    sd15_vae.save_pretrained(folder / "sd-vae-ft-mse")
    shutil.copy(openai_whisper, folder / "audio_processor" / "whisper_tiny.pt")
    return folder


@pytest.mark.slow
def test_hallo_with_its_helpers(hallo_folder: Path, embedded_dir: Path, tmp_path: Path) -> None:
    record = import_weights("hallo", hallo_folder, tmp_path / "out")
    assert record.components == {
        "unet": "EmoUNet",
        "reference_net": "ReferenceNet",
        "autoencoder": "ImageAutoencoder",
        "speech_encoder": "Wav2VecEncoder",
    }
    assert "not for commercial use" in record.left_over["face_analysis/"]
    published = torch.load(hallo_folder / "hallo" / "net.pth", weights_only=True)
    unet = load_network(EmoUNet, tmp_path / "out" / "unet")
    reference_net = load_network(ReferenceNet, tmp_path / "out" / "reference_net")
    assert len(unet.state_dict()) + len(reference_net.state_dict()) == len(published)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert torch.equal(reference_net.state_dict()[name], published[f"reference_unet.{name}"])
    assert set(record.files) >= {"hallo/net.pth", "sd-vae-ft-mse/diffusion_pytorch_model.safetensors"}
    assert verify(tmp_path / "out").keys() == record.components.keys() | {"scheduler", "face_analyzer"}


@pytest.mark.slow
def test_hallos_network_alone_and_incomplete(hallo_folder: Path, tmp_path: Path) -> None:
    record = import_weights("hallo", hallo_folder / "hallo" / "net.pth", tmp_path / "out")
    assert list(record.components) == ["unet", "reference_net"]
    shutil.rmtree(hallo_folder / "sd-vae-ft-mse")
    with pytest.raises(CheckpointError, match="no sd-vae-ft-mse"):
        import_weights("hallo", hallo_folder, tmp_path / "out2")
    state = torch.load(hallo_folder / "hallo" / "net.pth", weights_only=True)
    del state["audioproj.norm.bias"]
    torch.save(state, hallo_folder / "hallo" / "net.pth")
    with pytest.raises(CheckpointError, match=r"audioproj\.norm\.bias"):
        import_weights("hallo", hallo_folder / "hallo" / "net.pth", tmp_path / "out2")
    assert not (tmp_path / "out2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["echomimic", "echomimic-acc"])
def test_echomimic_with_its_helpers(
    echomimic_folder: Path, embedded_dir: Path, tmp_path: Path, form: str
) -> None:
    other = echomimic_folder / ("denoising_unet_acc.pth" if form == "echomimic" else "denoising_unet.pth")
    other.write_bytes(b"not read")
    record = import_weights(form, echomimic_folder, tmp_path / "out")
    assert list(record.components.values()) == [
        "EmoUNet",
        "ReferenceNet",
        "ImageAutoencoder",
        "WhisperEncoder",
    ]
    assert other.name not in record.files
    assert all("decoder" in reason for reason in record.left_over.values())
    load_network(EmoUNet, tmp_path / "out" / "unet")
    load_network(ReferenceNet, tmp_path / "out" / "reference_net")
    assert verify(tmp_path / "out").keys() == record.components.keys() | {"scheduler", "face_analyzer"}


def test_echomimic_incomplete(echomimic_folder: Path, tmp_path: Path) -> None:
    (echomimic_folder / "motion_module.pth").unlink()
    with pytest.raises(CheckpointError, match=r"no such file; got .*motion_module\.pth"):
        import_weights("echomimic", echomimic_folder, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"not Hallo's folder"):
        import_weights("hallo", echomimic_folder, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["hallo", "echomimic"])
def test_full_size_is_read_off_the_published_shapes(
    shared_dir: Path, preset: Literal["hallo", "echomimic"]
) -> None:
    """On the meta device: names and shapes of the manifests give the presets."""
    manifest = json.loads((shared_dir / f"parity/manifests/{preset}_keys.json").read_text())
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in manifest.items()}
    between = "." if preset == "hallo" else "/"
    sizes = published_folders._hallo_sizes if preset == "hallo" else published_folders._echomimic_sizes
    unet, reference_net = published_folders._networks(
        preset,
        tensors,
        f"denoising_unet{between}",
        f"reference_unet{between}",
        sizes,
    )
    with torch.device("meta"):
        expected = (
            EmoUNet(**unet_config(preset)),
            ReferenceNet(**reference_config(preset)),
        )
    pairs: list[tuple[Any, Any]] = list(zip((unet, reference_net), expected, strict=True))
    for pair in pairs:
        got, wanted = ({k: json.dumps(v) for k, v in n.config.items() if k[0] != "_"} for n in pair)
        assert got == wanted
