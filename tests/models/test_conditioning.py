"""Speed encoder and face locator."""

from __future__ import annotations

import math

import pytest
import torch

from openemo.errors import ConfigError
from openemo.models.conditioning import FaceLocator, SpeedEncoder, fold


def encoder(window: int = 2) -> SpeedEncoder:
    return SpeedEncoder((0.0, 0.5, 1.0), (0.25, 0.5, 0.5), window, dim=6, max_frames=12)


def test_buckets_are_emos_formula() -> None:
    speed = SpeedEncoder((0.5,), (0.25,), window=0, dim=2, max_frames=4)
    with torch.no_grad():
        speed.linear_1.weight.fill_(1)
        speed.linear_1.bias.zero_()
        speed.linear_2.weight.copy_(torch.eye(2))
        speed.linear_2.bias.zero_()
        token = speed(torch.tensor([[0.6]]))[0, 0]
    bucket = math.tanh((0.6 - 0.5) / 0.25 * 3)
    expected = bucket / (1 + math.exp(-bucket))
    # The MLP's SiLU, then the first position: sin 0, cos 0.
    torch.testing.assert_close(token, torch.tensor([expected, expected + 1]))


def test_a_frame_depends_on_the_speeds_of_its_window() -> None:
    speed_BF = torch.rand(3, 8).requires_grad_()
    tokens = encoder()(speed_BF)
    (gradient,) = torch.autograd.grad(tokens[:, 5].sum(), speed_BF)
    assert (gradient[0] != 0).tolist() == [False] * 3 + [True] * 5


def test_speeds_repeat_beyond_the_ends_of_the_clip() -> None:
    net, speed_BF = encoder(), torch.rand(2, 5)
    longer = torch.cat([speed_BF[:, :1].expand(-1, 2), speed_BF, speed_BF[:, -1:].expand(-1, 2)], dim=1)
    with torch.no_grad():
        # The longer clip starts two frames earlier on the axis, so its middle has the same positions.
        torch.testing.assert_close(net(speed_BF, first_position=2), net(longer)[:, 2:-2])


def test_every_bucket_needs_a_centre_and_a_positive_radius() -> None:
    with pytest.raises(ConfigError, match="one positive radius per centre"):
        SpeedEncoder((0.0, 1.0), (0.5,), 2, dim=4, max_frames=8)
    with pytest.raises(ConfigError, match="one positive radius per centre"):
        SpeedEncoder((0.0, 1.0), (0.5, 0.0), 2, dim=4, max_frames=8)


@pytest.mark.parametrize("downscale", [2, 8, 16])
def test_locator_output_has_latent_size_and_starts_at_zero(downscale: int) -> None:
    locator = FaceLocator(out_channels=5, downscale=downscale)
    features = locator(torch.rand(2, 1, 3 * downscale, 7 * downscale))
    assert features.shape == (2, 5, 3, 7)
    assert not features.any()


@pytest.mark.parametrize("downscale", [1, 12])
def test_locator_downscales_by_powers_of_two_only(downscale: int) -> None:
    with pytest.raises(ConfigError, match="power of two"):
        FaceLocator(out_channels=5, downscale=downscale)


def test_fold_puts_the_frames_of_a_clip_next_to_each_other() -> None:
    clip = torch.randn(2, 3, 5, 7, 4)
    folded = fold(clip)
    assert torch.equal(folded[5 + 2], clip[1, :, 2])
    assert folded.is_contiguous(memory_format=torch.channels_last)
