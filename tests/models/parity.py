"""Recorded cases of the relatives' own code: where they lie and how to read them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from openemo.models import EmoUNet, ReferenceFeatures, ReferenceNet

# Other cases of the same layout are run with OPENEMO_PARITY=<their folder>.
FOLDER = Path(
    os.environ.get("OPENEMO_PARITY", Path(__file__).resolve().parents[2].parent / "shared" / "parity")
)

# In float32, about 10 to 100 times the recorded float32-float64 difference, and over 1000 times below the
# effect of any wrong layer, as the fixtures' own README measures them.
TOLERANCE = 1e-4
# Where features are rounded to float16 on the way, one between two float16 numbers may go either way.
ROUNDED_TOLERANCE = 5e-4


def cases(kind: str) -> list[str]:
    """Names of the folders of one kind of case; its plain name, whose test is skipped, if there are none."""
    return sorted(path.parent.name for path in FOLDER.glob(f"{kind}*/config.json")) or [kind]


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
