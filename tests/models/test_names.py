"""Names and shapes of the state dict, so that the weights of SD-1.5 and AnimateDiff load."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open

from openemo.errors import ConfigError
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.reference_net import ReferenceNetConfig
from openemo.models.unet_spec import UNetConfig

EMO_PARTS = ("audio", "motion_modules", "face_locator", "speed_encoder")


def shapes(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def sd15() -> dict[str, tuple[int, ...]]:
    """Shapes of diffusers' UNet at its default size, which is SD-1.5's."""
    with torch.device("meta"):
        return shapes(UNet2DConditionModel(cross_attention_dim=768))


@pytest.fixture(scope="module")
def backbone() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(EmoUNet(**unet_config("sd15")))


def test_spatial_names_are_those_of_the_published_sd15(
    shared_dir: Path, backbone: dict[str, tuple[int, ...]]
) -> None:
    with safe_open(shared_dir / "parity/sd15_unet/weights.safetensors", "pt") as file:
        published = set(file.keys())
    assert len(published) == 686
    assert {key for key in backbone if not any(part in key for part in EMO_PARTS)} == published


def test_spatial_shapes_are_sd15s(
    sd15: dict[str, tuple[int, ...]], backbone: dict[str, tuple[int, ...]]
) -> None:
    assert len(sd15) == 686
    assert {key: backbone[key] for key in sd15} == sd15


def test_reference_net_is_sd15_without_its_head(sd15: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        reference = shapes(ReferenceNet(**reference_config("sd15")))
    head = {key for key in sd15 if key.startswith(("conv_norm_out.", "conv_out."))}
    assert reference == {key: shape for key, shape in sd15.items() if key not in head}


def test_temporal_names_are_animatediff_v2s(backbone: dict[str, tuple[int, ...]]) -> None:
    modules = {key.split(".temporal_transformer.")[0] for key in backbone if ".temporal_transformer." in key}
    expected = [
        f"{side}_blocks.{i}.motion_modules.{j}"
        for side, depth in (("down", 2), ("up", 3))
        for i in range(4)
        for j in range(depth)
    ]
    assert modules == {*expected, "mid_block.motion_modules.0"}
    block = "mid_block.motion_modules.0.temporal_transformer.transformer_blocks.0"
    assert backbone[f"{block}.attention_blocks.1.pos_encoder.pe"] == (1, 32, 1280)
    assert backbone[f"{block}.ff.net.0.proj.weight"] == (2 * 4 * 1280, 1280)


@pytest.mark.parametrize(("network", "config"), [(EmoUNet, UNetConfig), (ReferenceNet, ReferenceNetConfig)])
def test_types_of_the_config_are_those_of_the_constructor(network: type, config: type) -> None:
    arguments = get_type_hints(vars(network)["__init__"])
    assert arguments.pop("return") is type(None)
    assert get_type_hints(config) == arguments


def test_unet_and_reference_net_of_a_preset_fit_each_other() -> None:
    unet = EmoUNet(**unet_config("embedded"))
    reference_net = ReferenceNet(**reference_config("embedded"))
    features = reference_net(torch.zeros(1, 104, 3, 8, 8))
    output = unet(torch.zeros(1, 40, 2, 8, 8), torch.tensor(5), reference=features)
    assert output.shape == (1, 40, 2, 8, 8)


def test_embedded_is_small() -> None:
    with torch.device("meta"):
        unet = EmoUNet(**unet_config("embedded"))
    assert sum(parameter.numel() for parameter in unet.parameters()) < 8.5e6


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="sd15 or embedded"):
        unet_config("sdxl")  # type: ignore[arg-type]
