"""Recorded inputs and outputs of Hallo, EchoMimic, SD-1.5 and AnimateDiff."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet

# OPENEMO_PARITY=<folder> runs other cases of the same layout.
FOLDER = Path(os.environ.get("OPENEMO_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity"))

# In float32: 10 to 100 times the recorded difference between float32 and float64, and over 1000 times less
# than the effect of any wrong layer, as measured in the fixtures' README.
TOLERANCE = 1e-4
# If features are rounded to float16, a value between two float16 numbers may be rounded either way.
ROUNDED_TOLERANCE = 5e-4

# Constructor arguments of the two projects' networks at full size.
UNET: dict[str, Any] = dict(
    in_channels=4,
    out_channels=4,
    block_out_channels=[320, 640, 1280, 1280],
    down_block_types=["CrossAttnDownBlock3D"] * 3 + ["DownBlock3D"],
    up_block_types=["UpBlock3D"] + ["CrossAttnUpBlock3D"] * 3,
    layers_per_block=2,
    attention_head_dim=8,
    norm_num_groups=32,
    norm_eps=1e-5,
    cross_attention_dim=768,
    use_inflated_groupnorm=True,
    use_motion_module=True,
    motion_module_mid_block=True,
    motion_module_resolutions=[1, 2, 4, 8],
    motion_module_kwargs=dict(
        num_attention_heads=8,
        num_transformer_block=1,
        attention_block_types=["Temporal_Self", "Temporal_Self"],
        temporal_position_encoding=True,
        temporal_position_encoding_max_len=32,
        temporal_attention_dim_div=1,
    ),
)
HALLO_UNET = UNET | dict(
    use_audio_module=True,
    audio_attention_dim=768,
    stack_enable_blocks_name=["up", "down", "mid"],
    stack_enable_blocks_depth=[0, 1, 2, 3],
)


def cases(kind: str) -> list[str]:
    """Folders of one kind of case; if there are none, the kind itself, whose test is then skipped."""
    return sorted(path.parent.name for path in FOLDER.glob(f"{kind}*/config.json")) or [kind]


def folder_of(case: str) -> Path:
    """The folder of a case. Skips the test if it does not exist."""
    folder = FOLDER / case
    if not (folder / "config.json").is_file():
        pytest.skip(f"{folder} is not there")
    return folder


def config(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return settings


def load(path: Path) -> dict[str, Tensor]:
    """Tensors of a file; float tensors as float32, as the fixtures' README asks."""
    tensors: dict[str, Tensor] = load_file(path)
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def attention_names(network: EmoUNet | ReferenceNet) -> list[str]:
    """Published names of the spatial transformer blocks, in the order in which they run."""
    blocks = [
        *((f"down_blocks.{i}", block) for i, block in enumerate(network.down_blocks)),
        ("mid_block", network.mid_block),
        *((f"up_blocks.{i}", block) for i, block in enumerate(network.up_blocks)),
    ]
    return [
        f"{name}.attentions.{i}.transformer_blocks.0"
        for name, block in blocks
        for i in range(len(block.attentions))
    ]


def rounded(features: ReferenceFeatures) -> ReferenceFeatures:
    """The features through float16, as the two projects pass them by default."""
    return features.to(dtype=torch.float16).to(dtype=torch.float32)


def assert_close(got: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0, check_stride=False)
