"""Recorded outputs of the public implementations, with their weights."""

from __future__ import annotations

import pytest
import torch

from openemo.checkpoints.formats.shapes import unet_config_of
from openemo.models import EmoUNet
from openemo.models.conditioning import Conditions, fold
from openemo.models.temporal import TemporalModule
from tests.parity import assert_close, cases, config, folder_of, load


@pytest.mark.parametrize("case", cases("sd15_unet"))
def test_unet_gives_the_outputs_of_sd15(case: str) -> None:
    folder = folder_of(case)
    weights, inputs, outputs = (
        load(folder / f"{part}.safetensors") for part in ("weights", "inputs", "outputs")
    )
    settings = config(folder)["constructor"]
    known = ("norm_num_groups", "attention_head_dim")
    unet = EmoUNet(**unet_config_of(weights, {key: settings[key] for key in known}))
    unet.load_state_dict(weights)
    frames = 3
    samples = [key.removesuffix(".sample") for key in outputs if key.endswith(".sample")]
    assert samples
    for name in samples:
        with torch.no_grad():
            output = unet(
                inputs[f"{name}.sample"][:, :, None].expand(-1, -1, frames, -1, -1),
                inputs[f"{name}.timestep"],
                encoder_hidden_states=inputs[f"{name}.encoder_hidden_states"],
            )
        assert output.shape[2] == frames
        assert_close(output, outputs[f"{name}.sample"][:, :, None].expand_as(output))


@pytest.mark.parametrize("case", cases("animatediff_motion"))
def test_temporal_module_gives_the_outputs_of_animatediff(case: str) -> None:
    folder = folder_of(case)
    weights, inputs, outputs = (
        load(folder / f"{part}.safetensors") for part in ("weights", "inputs", "outputs")
    )
    for name, settings in config(folder)["modules"].items():
        module = TemporalModule(
            settings["in_channels"],
            num_heads=settings["num_attention_heads"],
            num_blocks=settings["num_transformer_block"],
            num_attentions=len(settings["attention_block_types"]),
            max_frames=settings["temporal_position_encoding_max_len"],
        )
        prefix = f"{name}."
        module.load_state_dict(
            {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        )
        clips = [key for key in inputs if key.startswith(prefix)]
        assert clips
        for clip in clips:
            with torch.no_grad():
                output = module(fold(inputs[clip]), Conditions(inputs[clip].shape[2], torch.zeros(1)))
            assert_close(output, fold(outputs[clip]))


def test_small_maps_with_a_large_mean_lose_no_digits() -> None:
    """In channels_last, as in the whole network, where torch's GroupNorm loses them."""
    maps = torch.randn(2, 64, 3, 3, generator=torch.Generator().manual_seed(1)) + 300
    last = maps.to(memory_format=torch.channels_last)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        module = TemporalModule(64, num_heads=2)
        torch.nn.init.normal_(module.temporal_transformer.proj_out.weight, std=0.1)
    with torch.no_grad():
        got = module(last, Conditions(2, torch.zeros(1))) - last
        exact = module.double()(maps.double(), Conditions(2, torch.zeros(1).double())) - maps
    assert_close(got, exact.float(), 2e-3)  # the difference of numbers around 300


def test_groups_of_one_value_are_no_error() -> None:
    """One motion frame before one video frame, at the smallest map."""
    module = TemporalModule(32, num_heads=2)
    maps = torch.randn(1, 32, 1, 1)
    assert module(maps, Conditions(1, torch.zeros(1)), maps[:, :, None]).shape == maps.shape
