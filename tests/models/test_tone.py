"""What is drawn on a picture of one tone has that tone; colour pictures are left alone."""

from __future__ import annotations

import pytest
import torch

from openemo.models.tone import to_tone_of


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


SEPIA = (
    torch.tensor([1.15, 1.0, 0.8])[None, :, None, None],
    torch.tensor([0.05, 0.0, -0.1])[None, :, None, None],
)


@pytest.mark.parametrize(("slope", "shift"), [(torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)), SEPIA])
def test_grey_and_sepia_stay_what_they_are(slope: torch.Tensor, shift: torch.Tensor) -> None:
    picture = 0.6 * _noise(1, 1, 20, 24) * slope + shift
    change = _noise(1, 4, 3, 40, 30, seed=1)
    toned = to_tone_of(picture, change)
    assert toned.shape == change.shape
    slope = slope / slope.mean()
    torch.testing.assert_close(toned, change.mean(2, keepdim=True) * slope[:, None], atol=1e-5, rtol=1e-4)


def test_colour_pictures_and_their_neighbours_in_the_batch_are_left_alone() -> None:
    pictures = torch.cat([_noise(1, 3, 20, 20), _noise(1, 1, 20, 20).expand(-1, 3, -1, -1)])
    change = _noise(2, 3, 3, 8, 8, seed=1)
    toned = to_tone_of(pictures, change)
    assert torch.equal(toned[0], change[0])
    assert torch.allclose(toned[1], change[1].mean(1, keepdim=True).expand_as(change[1]), atol=1e-5)


def test_a_picture_of_one_value_takes_any_change_without_a_nan() -> None:
    assert torch.isfinite(to_tone_of(torch.zeros(1, 3, 9, 9), _noise(1, 2, 3, 9, 9))).all()
