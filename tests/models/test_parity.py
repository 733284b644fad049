"""The same numbers as the public implementations, on their own weights and recorded outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from openemo.models import EmoUNet
from openemo.models.conditioning import Conditions, fold
from openemo.models.temporal import TemporalModule

# About 100 times the recorded float32-float64 difference, far below the effect of any wrong layer.
TOLERANCE = 1e-4


def load(path: Path) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(path).items()}


@pytest.mark.parametrize("case", ["a", "b"])
def test_image_network_is_sd15(shared_dir: Path, case: str) -> None:
    folder = shared_dir / "parity" / "sd15_unet"
    unet = EmoUNet(
        block_out_channels=(16, 32, 40, 40),
        norm_num_groups=8,
        cross_attention_dim=24,
        audio_feature_dim=None,
        temporal_modules=False,
        locator_downscale=None,
    )
    unet.load_state_dict(load(folder / "weights.safetensors"))
    inputs = load(folder / "inputs.safetensors")
    expected = load(folder / "outputs.safetensors")[f"{case}.sample"]
    frames = 3
    with torch.no_grad():
        output = unet(
            inputs[f"{case}.sample"][:, :, None].expand(-1, -1, frames, -1, -1),
            inputs[f"{case}.timestep"],
            encoder_hidden_states=inputs[f"{case}.encoder_hidden_states"],
        )
    assert output.shape[2] == frames
    torch.testing.assert_close(
        output, expected[:, :, None].expand_as(output), atol=TOLERANCE, rtol=0, check_stride=False
    )


@pytest.mark.parametrize(
    ("name", "channels", "num_blocks", "max_frames"), [("v2", 64, 1, 32), ("two_blocks_len24", 32, 2, 24)]
)
def test_temporal_module_is_animatediffs(
    shared_dir: Path, name: str, channels: int, num_blocks: int, max_frames: int
) -> None:
    folder = shared_dir / "parity" / "animatediff_motion"
    weights, inputs, outputs = (
        load(folder / f"{part}.safetensors") for part in ("weights", "inputs", "outputs")
    )
    module = TemporalModule(channels, num_heads=8, num_blocks=num_blocks, max_frames=max_frames)
    module.load_state_dict(
        {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    )
    cases = [key for key in inputs if key.startswith(f"{name}.")]
    assert cases
    for case in cases:
        frames = inputs[case].shape[2]
        with torch.no_grad():
            output = module(fold(inputs[case]), Conditions(frames, torch.zeros(1)))
        torch.testing.assert_close(output, fold(outputs[case]), atol=TOLERANCE, rtol=0)
