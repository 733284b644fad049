"""Lips that move more: what goes with the head stays as it is."""

from __future__ import annotations

import torch

from openemo.models.lips import LipMotion

GRID = 16
SKULL = torch.tensor([[0.3, 0.1], [0.7, 0.1], [0.5, 0.2], [0.4, 0.15]])


def _places() -> torch.Tensor:
    ticks = (torch.arange(GRID) + 0.5) / GRID
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"))[None]


def test_a_head_that_turns_is_not_exaggerated() -> None:
    # Points are found in three rounds, each of which leaves a fortieth of the error.
    turn = torch.tensor([[1.01, -0.02], [0.02, 1.01]])
    flow = torch.einsum("ij,njhw->nihw", turn, _places() - 0.4) + 0.42 - _places()
    lips = LipMotion(torch.full((1, 1, GRID, GRID), 1.5), SKULL)
    torch.testing.assert_close(lips(flow), flow, atol=1e-6, rtol=0)


def test_what_lips_do_beyond_that_is_multiplied_where_the_gain_says_so() -> None:
    gain = torch.ones(1, 1, GRID, GRID)
    gain[..., 10:14, 6:10] = 1.5
    head = torch.tensor([0.03, -0.02]).reshape(1, 2, 1, 1).expand(1, 2, GRID, GRID)
    spoken = torch.zeros(1, 2, GRID, GRID)
    spoken[:, 1, 9:15, 5:11] = 0.04
    torch.testing.assert_close(LipMotion(gain, SKULL)(head + spoken), head + gain * spoken, atol=1e-5, rtol=0)
