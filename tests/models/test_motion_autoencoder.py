"""Motion autoencoder: what it promises before any training, and that no axis or batch item is mixed up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.errors import ConfigError
from openemo.face.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE, STABLE
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.models.motion_decoder import MotionDecoder, ReferencePyramid, ResBlock
from openemo.rendering.flow import FLOW_STRIDES, flow_derivatives, pack_flow, unpack_flow, warp
from openemo.rendering.portrait_layers import PortraitPicture

SIDE, GRID, FLOW_GRID = 48, 3, 12
BATCH, FRAMES, COARSE = 2, 5, 24
# Of grid_sample: its coordinates are rounded to 2^-24 of the side, times slopes of 2 per pixel.
SAMPLED = 2e-5


def _network(*, awake: bool = False) -> MotionAutoencoder:
    """`awake`: no layer is zero any more, so that each one's part can be seen."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(11)
        network: MotionAutoencoder = MotionAutoencoder(
            sample_size=SIDE,
            fine_channels=8,
            middle_channels=16,
            reference_channels=COARSE,
            flow_scale=0.02,
        )
        for parameter in network.parameters():
            if awake and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return network


def _rand(*shape: int, seed: int = 5) -> Tensor:
    """Uniform in [-1, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _decode(network: MotionAutoencoder, latents: Tensor, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.decode(latents, network.encode_reference(images))


def test_zero_latents_are_the_reference_itself_in_a_fresh_network() -> None:
    network, images = _network(), _rand(BATCH, 3, SIDE, SIDE)
    frames = _decode(network, torch.zeros(BATCH, network.latent_channels, FRAMES, GRID, GRID), images)
    assert frames.shape == (BATCH, 3, FRAMES, SIDE, SIDE)
    expected = images[:, :, None].expand_as(frames)
    torch.testing.assert_close(frames, expected, atol=SAMPLED, rtol=0)


def test_a_finer_flow_is_packed_as_the_coarse_one_and_what_it_lacks() -> None:
    flow = _rand(BATCH, 2, 8 * GRID, 8 * GRID)
    for stride in FLOW_STRIDES:
        side = 16 * GRID // stride
        channels = pack_flow(flow[..., :side, :side], stride)
        assert channels.shape == (BATCH, 2 * (16 // stride) ** 2, GRID, GRID)
        torch.testing.assert_close(unpack_flow(channels, stride), flow[..., :side, :side])
    fine = flow[..., : 4 * GRID, : 4 * GRID]
    channels = pack_flow(fine, 4)
    torch.testing.assert_close(channels[:, :8], pack_flow(torch.nn.functional.avg_pool2d(fine, 2), 8))
    # A loss of the channels is a loss of the flow: the transform is orthogonal.
    torch.testing.assert_close(4 * (channels**2).sum(), (fine**2).sum())
    smooth = torch.nn.functional.interpolate(_rand(1, 2, GRID, GRID), scale_factor=4)
    assert pack_flow(smooth, 4)[:, 8:].abs().max() < 1e-6


def test_another_flow_stride_is_refused() -> None:
    with pytest.raises(ConfigError, match="flow_stride"):
        MotionAutoencoder(sample_size=SIDE, flow_stride=2)


def test_pack_and_unpack_are_inverse_and_scale() -> None:
    network = _network()
    flow = 0.1 * _rand(BATCH, 2, FLOW_GRID, FLOW_GRID)
    latents = network.pack(flow)
    assert latents.shape == (BATCH, network.latent_channels, GRID, GRID)
    torch.testing.assert_close(4 * (latents**2).sum(), (flow / 0.02).square().sum())
    torch.testing.assert_close(network.unpack(latents), flow)  # one division and one product: rounding


@pytest.mark.parametrize(("right", "down"), [(5, 0), (0, 3), (-4, 2)])
def test_warp_moves_by_whole_pixels_of_a_picture_that_is_not_square(right: int, down: int) -> None:
    height, width = 20, 32
    picture = _rand(1, 3, height, width)
    flow = torch.tensor([right / width, down / height]).reshape(1, 2, 1, 1).expand(1, 2, 5, 7)
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    expected = picture[:, :, rows][..., columns]  # the border repeats
    torch.testing.assert_close(warp(picture, flow), expected, atol=SAMPLED, rtol=0)


def test_latents_of_a_flow_to_the_right_move_the_picture_and_not_downwards() -> None:
    network, images = _network(), _rand(1, 3, SIDE, SIDE)
    flow = torch.zeros(1, 2, FLOW_GRID, FLOW_GRID)
    flow[:, 0] = 4 / SIDE
    latents = network.pack(flow)[:, :, None]
    frame = _decode(network, latents, images)[:, :, 0]
    torch.testing.assert_close(frame[..., :-4], images[..., 4:], atol=SAMPLED, rtol=0)


def _waves(side: int, right: float = 0.0, down: float = 0.0) -> Tensor:
    """(1, 3, side, side): the same scene at any resolution, seen from a place moved by parts of the side."""
    ticks = (torch.arange(side) + 0.5) / side
    x, y = ticks[None, :] + right, ticks[:, None] + down
    channels = [torch.sin(2 * math.pi * (a * x + b * y)) for a, b in ((1, 0), (0, 1), (1, -0.5))]
    return torch.stack([channel.expand(side, side) for channel in channels])[None]


@pytest.mark.parametrize("side", [SIDE, 120])
def test_motion_is_the_same_at_any_resolution_of_the_picture(side: int) -> None:
    network, (right, down) = _network(), (0.06, -0.1)
    flow = torch.tensor([right, down]).reshape(1, 2, 1, 1).expand(1, 2, FLOW_GRID, FLOW_GRID)
    frame = warp(_waves(side), network.unpack(network.pack(flow)), is_bicubic=True)
    inside = slice(side // 8, -side // 8)  # nearer to the edge the border repeats
    expected = _waves(side, right, down)
    # Between pixels a wave of 48 is interpolated with an error of (2 pi / 48)^2 / 8 = 0.002, twice in 2-D.
    torch.testing.assert_close(frame[..., inside, inside], expected[..., inside, inside], atol=1e-2, rtol=0)


def test_the_residual_is_the_same_at_any_resolution_of_the_picture(toy_face: NDArray[np.float64]) -> None:
    """On a flat picture at rest nothing else is seen."""
    network, images = _network(awake=True), torch.zeros(1, 3, SIDE, SIDE)
    latents = network.still_latents(network.encode_reference(images).features_BCHW, 2)
    points = toy_face[:, :2].astype(np.float32)
    with torch.no_grad():
        small, large = (
            network.decode(latents, network.encode_reference(images, PortraitPicture(pixels, points)))
            for pixels in (np.full((size, size, 3), 127, np.uint8) for size in (SIDE, 3 * SIDE))
        )
    assert (small - small.mean()).abs().max() > 0.01
    # Every third pixel of the large one has the centre of a small one; bicubic passes through its points.
    torch.testing.assert_close(large[..., 1::3, 1::3], small, atol=1e-5, rtol=0)


def test_nothing_moves_and_nothing_is_drawn_where_a_mouth_is_covered(toy_face: NDArray[np.float64]) -> None:
    network, images = _network(awake=True), _rand(1, 3, SIDE, SIDE)
    points = toy_face[:, :2].astype(np.float32)
    skull = [index for index in STABLE if index not in (*RIGHT_EYE, *LEFT_EYE)]
    points[skull, 1] = 0.2 + 0.2 * np.random.default_rng(2).random(len(skull))
    pixels = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 1)
    flow = torch.zeros(1, 2, FLOW_GRID, FLOW_GRID)
    flow[:, 1, FLOW_GRID // 2 + 1 :] = 0.05  # the lower face alone: the skull rests
    latents = network.pack(flow)[:, :, None]
    low, high = (points[list(OUTER_LIPS)] * SIDE).min(0).astype(int), (points[list(OUTER_LIPS)] * SIDE).max(0)
    mouth = slice(low[1], int(high[1]) + 1), slice(low[0], int(high[0]) + 1)
    rest = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        covered, seen = (
            network.decode(
                latents,
                network.encode_reference(
                    images, PortraitPicture(pixels, points, is_mouth_covered=is_covered)
                ),
            )[:, :, 0]
            for is_covered in (True, False)
        )
    change = (covered - rest).abs()[..., *mouth].mean()
    assert change < 0.05  # the picture is doubled and halved again
    assert (seen - rest).abs()[..., *mouth].mean() > 5 * change


def test_a_tongue_is_raised_in_the_frames_that_ask_for_it(toy_face: NDArray[np.float64]) -> None:
    network, images = _network(), _rand(1, 3, SIDE, SIDE)
    points = toy_face[:, :2].astype(np.float32)
    pixels = np.full((SIDE, SIDE, 3), (190, 150, 130), np.uint8)
    flow = torch.zeros(1, 2, FLOW_GRID, FLOW_GRID)
    y = (torch.arange(FLOW_GRID) + 0.5) / FLOW_GRID - 0.64
    flow[:, 1] = torch.where(y > 0, -y.clamp_max(0.16), 0)[:, None]  # the mouth is opened wide
    latents = network.pack(flow)[:, :, None].repeat(1, 1, 3, 1, 1)
    reference = network.encode_reference(images, PortraitPicture(pixels, points))
    with torch.no_grad():
        down = network.decode(latents, reference)
        some = network.decode(latents, reference, tongue_F=np.array([0.0, 1.0, 0.0]))
    torch.testing.assert_close(some[:, :, ::2], down[:, :, ::2])
    assert (some[:, :, 1] - down[:, :, 1]).max() > 0.1


def test_reference_input_has_the_resting_reference_first_and_then_the_motion_frames() -> None:
    network, num_motion = _network(), 4
    reference = network.encode_reference(_rand(BATCH, 3, SIDE, SIDE)).features_BCHW
    motion = _rand(BATCH, network.latent_channels, num_motion, GRID, GRID)
    together = network.reference_input(reference, motion)
    assert together.shape == (BATCH, COARSE + network.latent_channels, 1 + num_motion, GRID, GRID)
    for index in range(1 + num_motion):
        assert torch.equal(together[:, :COARSE, index], reference)
    assert not together[:, COARSE:, 0].any()
    assert torch.equal(together[:, COARSE:, 1:], motion)
    assert torch.equal(network.reference_input(reference, None), together[:, :, :1])


def test_the_loss_on_made_frames_reaches_every_weight_and_the_flow() -> None:
    network = _network(awake=True)
    images, flow = _rand(BATCH, 3, SIDE, SIDE, seed=6), 0.05 * _rand(BATCH, 2, FLOW_GRID, FLOW_GRID)
    flow.requires_grad_()
    made = warp(images, flow) + network.decoder(network.encode_pyramid(images), flow)
    (made**2).mean().backward()
    assert flow.grad is not None
    assert flow.grad.abs().amax((1, 2, 3)).min() > 0
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not idle


def test_zero_initialised_decoder_learns_from_the_first_step() -> None:
    network = _network()
    images, flow = _rand(1, 3, SIDE, SIDE), torch.zeros(1, 2, FLOW_GRID, FLOW_GRID)
    residual = network.decoder(network.encode_pyramid(images), flow)
    assert not residual.any()
    residual.sum().backward()
    gradient = network.decoder.conv_out.weight.grad
    assert gradient is not None
    assert gradient.any()


def test_neither_batch_items_nor_frames_mix() -> None:
    network, images = _network(awake=True), _rand(BATCH, 3, SIDE, SIDE)
    latents = _rand(BATCH, network.latent_channels, FRAMES, GRID, GRID)
    changed = latents.clone()
    changed[1, :, 2] += 1
    before, after = _decode(network, latents, images), _decode(network, changed, images)
    difference = (after - before).abs().amax((1, 3, 4))  # (B, F)
    assert difference[1, 2] > 0.01
    difference[1, 2] = 0
    assert difference.max() == 0

    other = images.clone()
    other[0] = -other[0]
    difference = (_decode(network, latents, other) - before).abs().amax((1, 2, 3, 4))
    assert difference[0] > 0.01
    assert difference[1] == 0


def test_saved_and_loaded_networks_are_equal(tmp_path: Path) -> None:
    network, images = _network(awake=True), _rand(BATCH, 3, SIDE, SIDE)
    network.save_pretrained(tmp_path)
    loaded = MotionAutoencoder.from_pretrained(tmp_path)
    assert (loaded.latent_channels, loaded.flow_size) == (network.latent_channels, FLOW_GRID)
    latents = _rand(BATCH, network.latent_channels, FRAMES, GRID, GRID)
    assert torch.equal(_decode(loaded, latents, images), _decode(network, latents, images))


@pytest.mark.parametrize(("sample_size", "advice"), [(40, "Use 32"), (250, "Use 240"), (9, "Use 16")])
def test_sizes_that_the_strides_do_not_divide_are_refused(sample_size: int, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        MotionAutoencoder(sample_size=sample_size)


def test_a_sharp_warp_keeps_what_a_plain_one_smooths_away() -> None:
    ramp, stripes = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    stripes[..., ::4], stripes[..., 1::4] = -1, -1
    half = torch.zeros(1, 2, 4, 4)
    half[:, 0] = 0.5 / 32  # half a pixel to the right
    inner = slice(4, -4)
    for is_bicubic in (False, True):
        moved = warp(ramp, half, is_bicubic=is_bicubic)[..., inner, inner]
        torch.testing.assert_close(moved, (ramp + 1 / 31)[..., inner, inner], atol=1e-4, rtol=0)
    plain, sharp = (warp(stripes, half, is_bicubic=flag)[..., inner, inner].std() for flag in (False, True))
    assert sharp > 1.1 * plain


def test_a_picture_of_twice_the_size_stays_sharp_when_it_moves_by_half_a_pixel() -> None:
    side, stripes = 64, 2 * math.pi * 24  # 2.7 pixels wide
    half = torch.zeros(1, 2, 4, 4)
    half[:, 0] = 0.5 / side

    def picture(size: int, right: float = 0.0) -> Tensor:
        ticks = (torch.arange(size) + 0.5) / size + right
        return torch.sin(stripes * ticks).expand(1, 1, size, size)

    inner = slice(4, -4)
    lost = [
        (warp(picture(size), half, size=(side, side), is_bicubic=True) - picture(side, 0.5 / side))[
            ..., inner
        ]
        for size in (side, 2 * side)
    ]
    assert lost[1].std() < 0.25 * lost[0].std()


def test_stretch_is_the_derivative_of_the_flow_at_any_size() -> None:
    grid = 32
    ticks = (torch.arange(grid) + 0.5) / grid
    x, y = ticks[None, :].expand(grid, grid), ticks[:, None].expand(grid, grid)
    flow = torch.stack([0.1 * x - 0.3 * y, 0.2 * x - 0.5 * y])[None]
    for size in (32, 16, 8):
        inner = flow_derivatives(flow, (size, size))[..., 1:-1, 1:-1]
        expected = torch.tensor([0.1, 0.2, -0.3, -0.5])[None, :, None, None].expand_as(inner)
        torch.testing.assert_close(inner, expected, atol=1e-4, rtol=0)


def test_a_local_block_gives_a_window_what_it_gives_the_whole_map() -> None:
    whole = _rand(1, 16, 12, 12)
    for local in (True, False):
        block = ResBlock(16, local=local)
        torch.nn.init.normal_(block.conv2.weight, std=0.1)
        with torch.no_grad():
            window = block(whole[..., 2:10, 2:10])[..., 2:-2, 2:-2]  # beyond the reach of its edges
            same = torch.allclose(window, block(whole)[..., 4:8, 4:8], atol=1e-5)
        assert same is local


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_features_of_a_window_are_those_of_the_whole_crop(norm: Literal["group", "layer"]) -> None:
    model = MotionAutoencoder(reference_norm=norm)
    for block in (model.reference_fine, model.reference_middle, model.reference_coarse):
        torch.nn.init.normal_(block.conv2.weight, std=0.1)
    whole = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        window = model.encode_pyramid(whole[..., 32:224, 32:224]).coarse[..., 5:7, 5:7]  # far from its edges
        same = torch.allclose(window, model.encode_pyramid(whole).coarse[..., 7:9, 7:9], atol=1e-5)
    assert same is (norm == "layer")


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"reference_norm.*batch.*group or layer"):
        MotionAutoencoder(reference_norm="batch")  # type: ignore[arg-type]


def test_nothing_is_drawn_in_the_margin_and_the_same_within() -> None:
    size, margin = 18, 2
    decoder = MotionDecoder((8, 16, COARSE), channels=(8, 12, 16), blocks=1, flow_stride=8)
    torch.nn.init.normal_(decoder.conv_out.weight, std=0.1)
    pyramid = ReferencePyramid(*(_rand(1, c, size * k, size * k) for c, k in ((8, 4), (16, 2), (COARSE, 1))))
    flow = 0.02 * _rand(1, 2, 2 * size, 2 * size)
    with torch.no_grad():
        whole, inner = decoder(pyramid, flow), decoder(pyramid, flow, margin=margin)
    assert inner.shape == whole.shape == (1, 3, 16 * size, 16 * size)
    edge = 16 * margin
    assert not inner[..., :edge, :].any()
    assert not inner[..., :, -edge:].any()
    # Three convolutions on the latent grid, three on twice, four on four times it: 5.5 cells from an edge.
    middle = slice(8 * 16, 10 * 16)
    assert inner[..., edge:-edge, edge:-edge].abs().max() > 0.01
    torch.testing.assert_close(inner[..., middle, middle], whole[..., middle, middle], atol=1e-5, rtol=0)
