"""EMO from SD-1.5 and AnimateDiff has all their layers, and the new layers change nothing at first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from openemo.checkpoints import read_index
from openemo.checkpoints.combining import StartNetworks, combine, start_networks
from openemo.checkpoints.components import load_network, load_scheduler
from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.parts import read_source
from openemo.checkpoints.verifying import verify
from openemo.errors import CheckpointError
from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet

AUDIO_DIM = 3 * 24  # layers and width of the tiny wav2vec 2.0
MakeMotion = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="module")
def parts(
    sd15_folder: Path,
    motion_state: MakeMotion,
    wav2vec2_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    torch.save({"state_dict": motion_state(mid=True, max_frames=24)}, folder / "mm.ckpt")
    import_weights("sd15", sd15_folder, folder / "sd15")
    import_weights("animatediff", folder / "mm.ckpt", folder / "animatediff")
    import_weights("wav2vec2", wav2vec2_folder, folder / "speech")
    return folder


@pytest.fixture(scope="module")
def networks(parts: Path) -> StartNetworks:
    return start_networks(parts / "sd15", parts / "animatediff", audio_feature_dim=AUDIO_DIM)


def test_every_tensor_is_sd15s_animatediffs_or_new(
    networks: StartNetworks, sd15_unet: UNet2DConditionModel, motion_state: MakeMotion
) -> None:
    given = sd15_unet.state_dict() | motion_state(mid=True, max_frames=24)
    state = networks.unet.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in given.items())
    assert set(networks.new) == state.keys() - given.keys()
    new_parts = ("audio", "speed", "face_locator")
    assert all(any(part in name for part in new_parts) for name in networks.new)
    reference = networks.reference_net.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in reference.items())
    assert {name.split(".")[0] for name in given.keys() - reference.keys() if "motion" not in name} == {
        "conv_norm_out",
        "conv_out",
    }


def test_new_layers_change_nothing_at_the_start(
    networks: StartNetworks, sd15_unet: UNet2DConditionModel
) -> None:
    generator = torch.Generator().manual_seed(6)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    unet = networks.unet.eval()
    sample, timestep = draw(1, 4, 3, 8, 16), torch.tensor([9])
    conditions: dict[str, Any] = dict(
        audio_BFTD=draw(1, 3, 5, AUDIO_DIM), locator_BMHW=draw(1, 1, 64, 128), speed_BF=draw(1, 3)
    )
    with torch.no_grad():
        plain = unet(sample, timestep)
        torch.testing.assert_close(unet(sample, timestep, **conditions), plain, atol=1e-5, rtol=1e-5)
        # Without AnimateDiff's residuals it is SD-1.5, frame by frame.
        for name, parameter in unet.named_parameters():
            if ".temporal_transformer.proj_out." in name:
                parameter.data.zero_()
        text = draw(1, 5, sd15_unet.config.cross_attention_dim)
        output = unet(sample, timestep, encoder_hidden_states=text)
        expected = sd15_unet(sample[:, :, 1], timestep, text).sample
    torch.testing.assert_close(output[:, :, 1], expected, atol=1e-5, rtol=1e-5)


def test_the_seed_is_of_the_new_layers_only(parts: Path, networks: StartNetworks) -> None:
    state = torch.get_rng_state()
    other = start_networks(parts / "sd15", parts / "animatediff", audio_feature_dim=AUDIO_DIM, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    before = networks.unet.state_dict()
    differing = {
        name
        for name, tensor in other.unet.state_dict().items()
        if "proj_out" not in name and not torch.equal(tensor, before[name])
    }
    assert differing
    assert differing <= set(networks.new)


@pytest.mark.slow
def test_combined_folder_is_whole_and_ready_to_train(parts: Path, embedded_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "emo"
    combine(parts / "sd15", parts / "animatediff", parts / "speech", embedded_dir / "face", out)
    assert set(verify(out)) == set(read_index(out).components)
    index = read_index(out)
    assert index.licence == "Apache-2.0 AND CreativeML-OpenRAIL-M"
    assert index.speech.layers == (1, 2, 3)
    assert index.config().num_inference_steps == 40
    assert read_source(out).components == index.components
    unet = load_network(EmoUNet, out / "unet")
    reference_net = load_network(ReferenceNet, out / "reference_net")
    assert {
        tensor.dtype for tensor in load_file(out / "unet/diffusion_pytorch_model.safetensors").values()
    } == {torch.float16}
    # What a training stage does with `start`, and one step of it.
    unet, reference_net = unet.float().train(), reference_net.float().train()
    schedule = load_scheduler(out / "scheduler")
    assert schedule.config.prediction_type == "epsilon"
    pictures = torch.randn(1, 4, 1 + 2, 8, 8)
    features = reference_net(pictures)
    assert isinstance(features, ReferenceFeatures)
    output = unet(
        torch.randn(1, 4, 3, 8, 8),
        torch.tensor([500]),
        reference=features,
        audio_BFTD=torch.randn(1, 3, 5, AUDIO_DIM),
        speed_BF=torch.rand(1, 3),
    )
    output.square().mean().backward()
    gradients = {name for name, parameter in unet.named_parameters() if parameter.grad is not None}
    assert any("attn_audio.to_out" in name for name in gradients)
    assert any("attn_speed.to_out" in name for name in gradients)


def test_v3_has_no_module_in_the_middle(parts: Path, motion_state: MakeMotion, tmp_path: Path) -> None:
    torch.save(motion_state(mid=False, max_frames=32), tmp_path / "v3.ckpt")
    import_weights("animatediff", tmp_path / "v3.ckpt", tmp_path / "v3")
    networks = start_networks(parts / "sd15", tmp_path / "v3", audio_feature_dim=AUDIO_DIM)
    assert not networks.unet.config.temporal_mid
    assert not networks.reference_net.config.temporal_mid
    assert networks.unet.config.max_frames == 32


def test_parts_that_do_not_fit_are_refused(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not the import that is needed"):
        start_networks(parts / "animatediff", parts / "sd15", audio_feature_dim=AUDIO_DIM)
    with pytest.raises(CheckpointError, match="not an imported checkpoint"):
        start_networks(tmp_path, parts / "animatediff", audio_feature_dim=AUDIO_DIM)
    config = parts / "animatediff" / "motion_modules" / "config.json"
    kept = config.read_text()
    config.write_text(json.dumps(json.loads(kept) | {"block_out_channels": [1, 2]}))
    try:
        with pytest.raises(CheckpointError, match="not of this UNet's size"):
            start_networks(parts / "sd15", parts / "animatediff", audio_feature_dim=AUDIO_DIM)
    finally:
        config.write_text(kept)
