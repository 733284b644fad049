"""What is drawn on a picture of one tone has that tone; colour pictures stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openemo.rendering.tone import PictureTone, channel_range, colour_share


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


SEPIA = (
    torch.tensor([1.15, 1.0, 0.8])[None, :, None, None],
    torch.tensor([0.05, 0.0, -0.1])[None, :, None, None],
)


@pytest.mark.parametrize(("slope", "shift"), [(torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)), SEPIA])
def test_changes_of_grey_and_sepia_pictures_keep_their_tone(slope: torch.Tensor, shift: torch.Tensor) -> None:
    picture = 0.6 * _noise(1, 1, 20, 24) * slope + shift
    change = _noise(1, 4, 3, 40, 30, seed=1)
    toned = PictureTone.of(picture).match(change)
    assert toned.shape == change.shape
    slope = slope / slope.mean()
    torch.testing.assert_close(toned, change.mean(2, keepdim=True) * slope[:, None], atol=1e-5, rtol=1e-4)


def test_changes_of_colour_pictures_stay_also_beside_grey_ones_in_the_batch() -> None:
    pictures = torch.cat([_noise(1, 3, 20, 20), _noise(1, 1, 20, 20).expand(-1, 3, -1, -1)])
    change = _noise(2, 3, 3, 8, 8, seed=1)
    toned = PictureTone.of(pictures).match(change)
    assert torch.equal(toned[0], change[0])
    assert torch.allclose(toned[1], change[1].mean(1, keepdim=True).expand_as(change[1]), atol=1e-5)


def test_a_picture_of_one_value_gives_no_nan() -> None:
    assert torch.isfinite(PictureTone.of(torch.zeros(1, 3, 9, 9)).match(_noise(1, 2, 3, 9, 9))).all()


@pytest.mark.parametrize(("spread", "share"), [(0, 0), (15, 0), (24, 0.6), (30, 1), (90, 1)])
def test_the_share_of_colour_follows_the_range_of_the_channels(spread: int, share: float) -> None:
    image = np.random.default_rng(2).integers(0, 150, (5, 7, 1), np.uint8) + np.zeros((1, 1, 3), np.uint8)
    image[..., 1] += np.uint8(spread)
    assert channel_range(image) == spread
    assert colour_share(image) == pytest.approx(share)
