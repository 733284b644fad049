"""Tiny real networks and their inputs. All dimensions differ, so that a swapped axis fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet

SPATIAL: dict[str, Any] = dict(
    block_out_channels=(8, 12),
    attention_levels=(True, True),
    layers_per_block=1,
    num_attention_heads=(2, 3),
    norm_num_groups=4,
    ff_mult=2,
    cross_attention_dim=13,
)
BACKBONE: dict[str, Any] = dict(
    in_channels=3,
    out_channels=5,
    audio_feature_dim=11,
    audio_tokens=4,
    audio_dim=9,
    audio_time_embedding=True,
    temporal_num_heads=(2, 3),
    temporal_attentions=2,
    temporal_blocks=2,
    temporal_ff_mult=1,
    max_frames=9,
    locator_downscale=4,
    num_motion_conditions=5,
    expression_guide_channels=4,
    speed_dim=14,
)
REFERENCE_IN_CHANNELS = 7
CLIPS, FRAMES, MOTION_FRAMES, HEIGHT, WIDTH = 2, 6, 3, 10, 16


@dataclass(frozen=True)
class Inputs:
    """An input for every argument of the two networks."""

    sample: Tensor
    timestep: Tensor
    images: Tensor
    audio: Tensor
    locator: Tensor
    speed: Tensor
    motion_conditions: Tensor
    guide: Tensor
    text: Tensor

    def conditions(self, reference: ReferenceFeatures) -> dict[str, Any]:
        return dict(
            reference=reference,
            audio_BFTD=self.audio,
            locator_BMHW=self.locator,
            speed_BF=self.speed,
            motion_conditions_BFK=self.motion_conditions,
            expression_guide_BFGHW=self.guide,
            encoder_hidden_states=self.text,
        )


def randomize_zeros(module: nn.Module) -> None:
    """Give zero-initialised parameters small random values, so that the layers before them have an effect."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


@pytest.fixture
def make_unet() -> Callable[..., EmoUNet]:
    """Tiny `EmoUNet` with changed settings; `zero_init` keeps its zero-initialised layers at zero."""

    def make(*, zero_init: bool = False, **changes: Any) -> EmoUNet:
        unet = EmoUNet(**(SPATIAL | BACKBONE | changes)).eval()
        if not zero_init:
            randomize_zeros(unet)
        return unet

    return make


@pytest.fixture
def make_reference_net() -> Callable[..., ReferenceNet]:
    def make(**changes: Any) -> ReferenceNet:
        return ReferenceNet(**(SPATIAL | {"in_channels": REFERENCE_IN_CHANNELS} | changes)).eval()

    return make


@pytest.fixture
def make_inputs() -> Callable[..., Inputs]:
    """Random inputs for the tiny networks."""

    def make(height: int = HEIGHT, width: int = WIDTH, motion_frames: int = MOTION_FRAMES) -> Inputs:
        return Inputs(
            sample=torch.randn(CLIPS, 3, FRAMES, height, width),
            timestep=torch.tensor([17.0, 801.5]),
            images=torch.randn(CLIPS, REFERENCE_IN_CHANNELS, 1 + motion_frames, height, width),
            audio=torch.randn(CLIPS, FRAMES, 4, 11),
            locator=torch.rand(CLIPS, 1, 4 * height, 4 * width),
            speed=torch.rand(CLIPS, FRAMES),
            motion_conditions=torch.randn(CLIPS, FRAMES, 5),
            guide=torch.randn(CLIPS, FRAMES, 4, height, width),
            text=torch.randn(CLIPS, 19, 13),
        )

    return make
