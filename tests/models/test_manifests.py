"""Names, shapes and counts of Hallo's and EchoMimic's published checkpoints at full size, without weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod

import pytest
import torch

from openemo.checkpoints.families import echomimic, hallo
from openemo.checkpoints.key_map import KeyMap
from openemo.models import EmoUNet, ReferenceNet, reference_config, unet_config
from openemo.models.network_presets import Preset
from tests.parity import FOLDER


@pytest.mark.parametrize(
    ("preset", "key_map", "tensors", "millions"),
    [("hallo", hallo.key_map, 2656, 2424.8), ("echomimic", echomimic.key_map, 1860, 2121.0)],
)
def test_preset_has_the_published_tensors(
    preset: Preset, key_map: Callable[[EmoUNet, ReferenceNet], KeyMap], tensors: int, millions: float
) -> None:
    path = FOLDER / "manifests" / f"{preset}_keys.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    published = {key: tuple(shape) for key, shape in json.loads(path.read_text()).items()}
    with torch.device("meta"):
        unet, reference_net = EmoUNet(**unet_config(preset)), ReferenceNet(**reference_config(preset))
    names = key_map(unet, reference_net)
    shapes = {names.published[own]: shape for own, shape in names.shapes.items()}
    assert shapes == published
    assert len(shapes) == tensors
    assert sum(map(prod, shapes.values())) / 1e6 == pytest.approx(millions, abs=0.05)


def test_accelerated_weights_have_the_same_network() -> None:
    assert unet_config("echomimic_acc") == unet_config("echomimic")
    assert reference_config("echomimic_acc") == reference_config("echomimic")
