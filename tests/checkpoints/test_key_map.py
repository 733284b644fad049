"""Key maps use every tensor and guess nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from openemo.checkpoints.families import echomimic
from openemo.checkpoints.key_map import KeyMap, split
from openemo.errors import CheckpointError


@pytest.fixture
def key_map() -> KeyMap:
    networks = {"unet": nn.Linear(3, 5), "reference_net": nn.Linear(5, 2, bias=False)}
    return KeyMap.of_networks(
        "a family",
        networks,
        lambda own: "net/" + own.replace("unet", "denoiser"),
        {r"unused\..*": "not read"},
    )


@pytest.fixture
def published() -> dict[str, Tensor]:
    return {
        "net/denoiser.weight": torch.randn(5, 3).half(),
        "net/denoiser.bias": torch.randn(5),
        "net/reference_net.weight": torch.randn(2, 5),
    }


def test_tensors_get_their_own_names(key_map: KeyMap, published: dict[str, Tensor]) -> None:
    own, left_over = key_map.to_own(published)
    assert left_over == {}
    assert {name: set(state) for name, state in split(own).items()} == {
        "unet": {"weight", "bias"},
        "reference_net": {"weight"},
    }
    assert all(own[name] is published[key] for name, key in key_map.published.items())


def test_left_over_tensors_are_named_with_the_reason(key_map: KeyMap, published: dict[str, Tensor]) -> None:
    own, left_over = key_map.to_own(published | {"unused.table": torch.zeros(1)})
    assert left_over == {"unused.table": "not read"}
    assert len(own) == 3


def test_missing_unknown_and_misshaped_tensors_are_errors(
    key_map: KeyMap, published: dict[str, Tensor]
) -> None:
    missing = {key: tensor for key, tensor in published.items() if key != "net/denoiser.bias"}
    with pytest.raises(CheckpointError, match=r"1 of the 3 tensors.*no net/denoiser\.bias"):
        key_map.to_own(missing)
    with pytest.raises(CheckpointError, match="does not have; got net/other"):
        key_map.to_own(published | {"net/other": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"net/denoiser\.bias; got \(6,\); expected \(5,\)"):
        key_map.to_own(published | {"net/denoiser.bias": torch.zeros(6)})


def test_two_tensors_of_one_published_name_are_refused() -> None:
    with pytest.raises(CheckpointError, match="apart"):
        KeyMap.of_networks("a family", {"unet": nn.Linear(3, 5)}, lambda own: "same")


def test_files_of_echomimic_are_joined_once_each() -> None:
    table = {"pe": torch.zeros(1)}
    joined = echomimic.join({"denoising_unet_acc": {"conv_in": torch.zeros(2)}, "motion_module_acc": table})
    assert set(joined) == {"denoising_unet/conv_in", "denoising_unet/pe"}
    with pytest.raises(CheckpointError, match="two files"):
        echomimic.join({"denoising_unet": table, "motion_module": table})
    with pytest.raises(CheckpointError, match="not a file of EchoMimic"):
        echomimic.join({"vae": table})
