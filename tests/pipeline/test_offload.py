"""Memory options change where and in how many pieces things are computed, not what comes out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from openemo.audio import Audio
from openemo.errors import ConfigError
from openemo.models import EmoUNet
from openemo.models.attention import slice_attention
from openemo.pipeline import EmoPipeline
from openemo.pipeline.output import Frame
from openemo.video.images import read_image

SOUND = Audio(np.sin(np.linspace(0, 900, 5_000)).astype(np.float32)[None] * 0.3, 16_000)
Load = Callable[..., EmoPipeline]


@pytest.fixture
def load(tiny_dir: Path) -> Load:
    def pipeline(**options: Any) -> EmoPipeline:
        return EmoPipeline.from_pretrained(tiny_dir, **options)

    return pipeline


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> Frame:
    return read_image(portrait_path)


def frames_of(pipeline: EmoPipeline, portrait: Frame) -> Frame:
    return np.stack(list(pipeline(portrait, SOUND, framing="crop", size_px=64, guidance_scale=2.0)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offloaded_networks_make_the_same_video(load: Load, portrait: Frame, kind: Any) -> None:
    plain = frames_of(load(), portrait)
    pipeline = load(offload=kind)
    assert pipeline.device == torch.device("cpu")
    for _ in range(2):  # and again: nothing is used up
        assert np.array_equal(frames_of(pipeline, portrait), plain)
    on_meta = {parameter.is_meta for parameter in pipeline.unet.parameters()}
    assert on_meta == {kind == "sequential"}


def test_one_network_at_a_time_is_on_the_device(load: Load, portrait: Frame) -> None:
    pipeline = load(offload="model")
    offload = pipeline._offload
    assert offload is not None
    networks: dict[str, nn.Module] = {
        "unet": pipeline.unet,
        "reference_net": pipeline.reference_net,
        "autoencoder": pipeline.autoencoder,
        "speech": pipeline.speech_encoder.encoder,
    }
    seen: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            assert offload.resident is networks[name]
            if seen[-1:] != [name]:
                seen.append(name)

        return hook

    for name, network in networks.items():
        for layer in network.modules():
            layer.register_forward_pre_hook(watch(name))
    frames_of(pipeline, portrait)  # 8 frames in clips of 5
    # The backbone comes early for the face region, by a method that is not its `forward`.
    clip = ["reference_net", "unet", "autoencoder"]
    assert seen == ["speech", "autoencoder", "unet", *clip, *clip]


def test_what_cannot_be_done_with_an_offloaded_pipeline(load: Load, tmp_path: Path) -> None:
    pipeline = load(offload="sequential")
    for action in (
        lambda: pipeline.to("cpu"),
        lambda: pipeline.save_pretrained(tmp_path),
        lambda: pipeline.enable_offload("model", "cpu"),
    ):
        with pytest.raises(ConfigError, match="offloaded"):
            action()
    with pytest.raises(ConfigError, match="unknown kind"):
        load(offload="disk")
    with pytest.raises(ConfigError, match="decoded together"):
        load(decode_frames=0)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_sliced_attention_and_small_decode_batches(load: Load, portrait: Frame, rows: int) -> None:
    plain = frames_of(load(), portrait).astype(int)
    pipeline = load(decode_frames=rows)
    pipeline.enable_attention_slicing(rows)
    # Convolutions and products over fewer rows are summed in another order: a grey level where it rounds.
    assert np.abs(frames_of(pipeline, portrait) - plain).max() <= 1


def test_slices_in_the_network(load: Load) -> None:
    unet: EmoUNet = load().unet
    generator = torch.Generator().manual_seed(2)
    sample = torch.randn(2, unet.config.in_channels, 3, 4, 4, generator=generator)
    with torch.no_grad():
        plain = unet(sample, torch.tensor([7, 9]))
        slice_attention(unet, 4)  # does not divide 2 x 3 frames
        sliced = unet(sample, torch.tensor([7, 9]))
        slice_attention(unet, None)
        again = unet(sample, torch.tensor([7, 9]))
    torch.testing.assert_close(sliced, plain, atol=1e-5, rtol=1e-5)  # another order of sums
    assert torch.equal(again, plain)
    with pytest.raises(ConfigError, match="at least one row"):
        slice_attention(unet, 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(load: Load, portrait: Frame, dtype: torch.dtype) -> None:
    plain = frames_of(load(), portrait).astype(float)
    half = frames_of(load(dtype=dtype, offload="sequential"), portrait)
    # 8 or 11 bits over three steps of a random network.
    assert np.abs(half - plain).mean() < 4
