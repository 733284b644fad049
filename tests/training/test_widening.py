"""Networks of fewer channels in wider ones: they compute the same until they are trained further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from openemo.errors import TrainingError
from openemo.models import EmoUNet, ReferenceNet
from openemo.training.exports import load_widened

NARROW, WIDE, FEATURES = 6, 8, 10
SPATIAL: dict[str, Any] = dict(
    block_out_channels=(8, 12),
    attention_levels=(True, True),
    layers_per_block=1,
    num_attention_heads=(2, 3),
    norm_num_groups=4,
    ff_mult=1,
    cross_attention_dim=None,
)


def make_unet(channels: int, num_motion_conditions: int, guide_channels: int | None = None) -> EmoUNet:
    return EmoUNet(
        in_channels=channels,
        out_channels=channels,
        **SPATIAL,
        audio_feature_dim=7,
        audio_tokens=4,
        audio_dim=9,
        temporal_num_heads=(2, 3),
        temporal_attentions=1,
        temporal_ff_mult=1,
        max_frames=9,
        locator_downscale=4,
        num_motion_conditions=num_motion_conditions,
        expression_guide_channels=guide_channels,
        speed_dim=14,
    ).eval()


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """Zero-initialised layers would hide what they are connected to."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def padded(values: torch.Tensor) -> torch.Tensor:
    """With the channels that the narrow network lacks."""
    return torch.cat([values, torch.zeros_like(values[:, : WIDE - NARROW])], 1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(5)


@torch.no_grad()
def test_a_widened_pair_computes_what_the_narrow_one_does(tmp_path: Path) -> None:
    narrow = make_unet(NARROW, 5)
    narrow_reference = ReferenceNet(in_channels=FEATURES + NARROW, **SPATIAL).eval()
    for name, network in (("unet", narrow), ("reference_net", narrow_reference)):
        awake(network)
        network.save_pretrained(tmp_path / name)
    wide = load_widened(make_unet(WIDE, 3, 2), tmp_path / "unet")
    wide_reference = load_widened(
        ReferenceNet(in_channels=FEATURES + WIDE, **SPATIAL).eval(), tmp_path / "reference_net"
    )
    images, sample = torch.randn(1, FEATURES + NARROW, 3, 8, 8), torch.randn(1, NARROW, 4, 8, 8)
    conditions: dict[str, Any] = dict(
        audio_BFTD=torch.randn(1, 4, 4, 7), locator_BMHW=torch.rand(1, 1, 32, 32), speed_BF=torch.rand(1, 4)
    )
    timestep = torch.tensor([500.0])
    told = torch.randn(1, 4, 3)
    expected = narrow(
        sample,
        timestep,
        reference=narrow_reference(images),
        motion_conditions_BFK=torch.cat([told, torch.zeros(1, 4, 2)], -1),  # the last ones are left out
        **conditions,
    )
    result = wide(
        padded(sample),
        timestep,
        reference=wide_reference(padded(images)),
        motion_conditions_BFK=told,
        expression_guide_BFGHW=torch.randn(1, 4, 2, 8, 8),  # this layer starts at zero
        **conditions,
    )
    torch.testing.assert_close(result[:, :NARROW], expected, atol=1e-5, rtol=1e-4)
    assert not result[:, NARROW:].any()


def test_other_differences_are_refused(tmp_path: Path) -> None:
    make_unet(WIDE, 3).save_pretrained(tmp_path / "wide")
    with pytest.raises(TrainingError, match="does not fit the wider network"):
        load_widened(make_unet(NARROW, 3), tmp_path / "wide")
    with pytest.raises(TrainingError, match="no trained network"):
        load_widened(make_unet(WIDE, 3), tmp_path / "nothing")
