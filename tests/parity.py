"""Recorded cases of the relatives' own code: where they lie and how to read them."""

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

# Other cases of the same layout are run with OPENEMO_PARITY=<their folder>.
FOLDER = Path(os.environ.get("OPENEMO_PARITY", Path(__file__).resolve().parents[2] / "shared" / "parity"))

# In float32, about 10 to 100 times the recorded float32-float64 difference, and over 1000 times below the
# effect of any wrong layer, as the fixtures' own README measures them.
TOLERANCE = 1e-4
# Where features are rounded to float16 on the way, one between two float16 numbers may go either way.
ROUNDED_TOLERANCE = 5e-4

# The relatives' settings at full size, in their own words.
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
    """Names of the folders of one kind of case; its plain name, whose test is skipped, if there are none."""
    return sorted(path.parent.name for path in FOLDER.glob(f"{kind}*/config.json")) or [kind]


def folder_of(case: str) -> Path:
    """Where a case lies; skips the test where it does not."""
    folder = FOLDER / case
    if not (folder / "config.json").is_file():
        pytest.skip(f"{folder} is not there")
    return folder


def config(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return settings


def load(path: Path) -> dict[str, Tensor]:
    """Float tensors as float32, as the fixtures' README asks; others as they are."""
    tensors: dict[str, Tensor] = load_file(path)
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def attention_places(network: EmoUNet | ReferenceNet) -> list[str]:
    """Published names of the spatial transformers' blocks, in the order in which they run."""
    stages = [
        *((f"down_blocks.{i}", stage) for i, stage in enumerate(network.down_blocks)),
        ("mid_block", network.mid_block),
        *((f"up_blocks.{i}", stage) for i, stage in enumerate(network.up_blocks)),
    ]
    return [
        f"{name}.attentions.{i}.transformer_blocks.0"
        for name, stage in stages
        for i in range(len(stage.attentions))
    ]


def rounded(features: ReferenceFeatures) -> ReferenceFeatures:
    """As the relatives hand features over by default."""
    return features.to(dtype=torch.float16).to(dtype=torch.float32)


def assert_close(got: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(got, expected, atol=tolerance, rtol=0, check_stride=False)
