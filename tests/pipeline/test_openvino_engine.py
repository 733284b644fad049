"""OpenVINO computes what torch computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openemo.audio import Audio
from openemo.errors import ConfigError
from openemo.models.motion_decoder import MotionDecoder, ReferencePyramid
from openemo.pipeline import EmoPipeline
from openemo.pipeline.openvino_engine import OpenVinoEngine, has_openvino
from openemo.pipeline.output import Frame
from openemo.video.images import read_image

needs_openvino = pytest.mark.skipif(not has_openvino(), reason="needs the extra openvino")
SOUND = Audio(np.sin(np.linspace(0, 900, 5_000)).astype(np.float32)[None] * 0.3, 16_000)


class Pair(nn.Module):
    """Takes and gives nested tensors, None and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, x: Tensor, *, more: dict[str, Any], bias: Tensor | None = None) -> tuple[Any, ...]:
        y = self.linear(x) * more["factor"] + more["parts"][0]
        return (y if bias is None else y + bias), {"double": 2 * y, "none": None}


def random_decoder() -> tuple[MotionDecoder, Callable[[int], tuple[ReferencePyramid, Tensor]]]:
    """A decoder whose last layers are no zeros, and inputs for it."""
    torch.manual_seed(3)
    decoder = MotionDecoder((8, 16, 24), channels=(8, 16, 24), blocks=1, flow_stride=4).eval()
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.2)

    def inputs(items: int) -> tuple[ReferencePyramid, Tensor]:
        torch.manual_seed(items)
        levels = (torch.randn(items, c, s, s) for c, s in ((8, 16), (16, 8), (24, 4)))
        return ReferencePyramid(*levels), 0.1 * torch.randn(items, 2, 16, 16)

    return decoder, inputs


@needs_openvino
@torch.no_grad()
def test_nested_inputs_and_results() -> None:
    network, x = Pair(), torch.randn(2, 3)
    run = OpenVinoEngine(dtype=torch.float32)(network)
    for options in (
        {"more": {"factor": 2.0, "parts": (torch.ones(5),)}},
        {"more": {"factor": 3.0, "parts": (torch.zeros(5),)}},
        {"more": {"factor": 3.0, "parts": (torch.zeros(5),)}, "bias": torch.ones(5)},
    ):
        (y, named), (expected, expected_named) = run(x, **options), network(x, **options)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(named["double"], expected_named["double"])
        assert named["none"] is None


@needs_openvino
@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_a_decoder_of_any_number_of_frames(dtype: torch.dtype, tolerance: float) -> None:
    """Frames are decoded some at a time, and the last ones need not fill that number."""
    decoder, inputs = random_decoder()
    run = OpenVinoEngine(dtype=dtype, batch=4)(decoder)
    for items in (1, 4, 6):
        expected = decoder(*inputs(items))
        error = (run(*inputs(items)) - expected).square().mean().sqrt() / expected.std()
        assert error < tolerance


@needs_openvino
@torch.no_grad()
def test_what_was_compiled_is_kept_for_the_same_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decoder, inputs = random_decoder()
    first = OpenVinoEngine(folder=tmp_path)(decoder)(*inputs(2))
    assert [record.getMessage() for record in caplog.records] == [
        "OpenVINO compiles the networks for this processor: some 10 s, this once"
    ]
    caplog.clear()
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    assert torch.equal(OpenVinoEngine(folder=tmp_path)(decoder)(*inputs(2)), first)
    assert kept.stat().st_mtime_ns == written
    assert not caplog.records

    decoder.norm_out.weight[0] += 1
    other = OpenVinoEngine(folder=tmp_path)(decoder)(*inputs(2))
    assert not torch.equal(other, first)
    assert len(list(tmp_path.iterdir())) == 2

    ahead = OpenVinoEngine(folder=tmp_path)
    ahead.load_ahead(nn.ModuleList([nn.Linear(2, 3), decoder]))
    ahead._ahead[decoder].result()
    stored = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for file in stored:
        file.unlink()
    caplog.clear()
    assert torch.equal(ahead(decoder)(*inputs(2)), other)
    assert not caplog.records
    for file, content in stored.items():
        file.write_bytes(content)

    kept.write_bytes(b"damaged")
    decoder.norm_out.weight[0] -= 1
    assert torch.equal(OpenVinoEngine(folder=tmp_path)(decoder)(*inputs(2)), first)


@needs_openvino
@pytest.mark.slow
def test_a_video_is_that_of_torch(
    tiny_dir: Path, portrait_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    portrait = read_image(portrait_path)

    def frames(**options: Any) -> Frame:
        pipeline = EmoPipeline.from_pretrained(tiny_dir, **options)
        return np.stack(list(pipeline(portrait, SOUND, framing="crop", size_px=64)))

    expected = frames()
    exact = frames(engine="openvino", dtype=torch.float32)
    assert np.abs(exact.astype(int) - expected).max() <= 1
    chosen = frames(engine="auto", dtype=torch.float32)
    assert np.array_equal(chosen, exact if OpenVinoEngine().has_bfloat16 else expected)
    assert list((tmp_path / "openemo" / "openvino").glob("*.blob"))


def test_auto_without_openvino_is_torch(tiny_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openemo.pipeline.pretrained_pipeline.has_openvino", lambda: False)
    monkeypatch.setattr("openemo.pipeline.openvino_engine.has_openvino", lambda: False)
    pipeline = EmoPipeline.from_pretrained(tiny_dir, engine="auto")
    pipeline.to(dtype=torch.bfloat16)  # compiled networks would refuse
    with pytest.raises(ConfigError, match=r"pip install 'openemo\[openvino\]'"):
        EmoPipeline.from_pretrained(tiny_dir, engine="openvino")


@needs_openvino
def test_networks_that_cannot_be_compiled(tiny_dir: Path) -> None:
    with pytest.raises(ConfigError, match="weights in float32"):
        EmoPipeline.from_pretrained(tiny_dir, engine="openvino", dtype=torch.float16)
    with pytest.raises(ConfigError, match="offloaded"):
        EmoPipeline.from_pretrained(tiny_dir, engine="openvino", offload="model")
    with pytest.raises(ConfigError, match="auto, torch, openvino"):
        EmoPipeline.from_pretrained(tiny_dir, engine="onnx")  # type: ignore[arg-type]
    pipeline = EmoPipeline.from_pretrained(tiny_dir, engine="openvino")
    with pytest.raises(ConfigError, match="cannot be moved"):
        pipeline.to("cpu")
    pipeline.enable_engine("torch")
    pipeline.to("cpu")


@needs_openvino
@torch.no_grad()
def test_a_unet_in_parts(tiny_dir: Path) -> None:
    """Its embeddings and last layers stay in float32, the rest is compiled."""
    unet = EmoPipeline.from_pretrained(tiny_dir).unet
    config, frames = unet.config, 3
    torch.manual_seed(0)
    inputs: dict[str, Any] = {
        "sample_BCFHW": torch.randn(1, config.in_channels, frames, 4, 4),
        "timestep": torch.tensor([500]),
        "audio_BFTD": torch.randn(1, frames, config.audio_tokens, config.audio_feature_dim or 0),
        "motion_conditions_BFK": torch.randn(1, frames, config.num_motion_conditions or 0),
    }
    expected = unet(**inputs)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.03)):
        error = OpenVinoEngine(dtype=dtype)(unet)(**inputs) - expected
        assert error.square().mean().sqrt() < tolerance * expected.std()
