"""A gain on the motion of the lips; head motion stays as it is."""

from __future__ import annotations

import torch

from openemo.grids import centre_grid
from openemo.rendering.lip_motion import LipMotion

GRID = 16
SKULL = torch.tensor([[0.3, 0.1], [0.7, 0.1], [0.5, 0.2], [0.4, 0.15]])


def _positions() -> torch.Tensor:
    return centre_grid(GRID, GRID).permute(2, 0, 1)[None]


def test_the_motion_of_a_turning_head_is_not_scaled() -> None:
    # Points are found in three iterations; each leaves a fortieth of the error.
    turn = torch.tensor([[1.01, -0.02], [0.02, 1.01]])
    flow = torch.einsum("ij,njhw->nihw", turn, _positions() - 0.4) + 0.42 - _positions()
    lips = LipMotion(torch.full((1, 1, GRID, GRID), 1.5), SKULL)
    torch.testing.assert_close(lips(flow), flow, atol=1e-6, rtol=0)


def test_motion_relative_to_the_head_is_multiplied_by_the_gain() -> None:
    gain = torch.ones(1, 1, GRID, GRID)
    gain[..., 10:14, 6:10] = 1.5
    head = torch.tensor([0.03, -0.02]).reshape(1, 2, 1, 1).expand(1, 2, GRID, GRID)
    speech = torch.zeros(1, 2, GRID, GRID)
    speech[:, 1, 9:15, 5:11] = 0.04
    torch.testing.assert_close(LipMotion(gain, SKULL)(head + speech), head + gain * speech, atol=1e-5, rtol=0)
