"""Added head motion: as the motion conditions say, zero at the border; the mouth is unchanged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openemo.face.motion_conditions import motion_conditions
from openemo.rendering.rigid_motion import rigid_motion
from openemo.training.datasets.head_augmentation import add_head_motion, random_head_motion

GRID = 64
Floats = NDArray[np.float64]


@pytest.mark.parametrize("asked", [(0, 2, 0, 0, 0), (0, 0, -3, 0, 0), (0, 0, 0, 4, 0), (0, 1, 1, -2, 5)])
def test_a_head_moves_by_its_motion_conditions(toy_face: Floats, asked: tuple[float, ...]) -> None:
    face, wanted = toy_face.astype(np.float32), np.array([asked], np.float32)
    flow = add_head_motion(torch.zeros(1, 2, GRID, GRID), face, wanted)
    motion = rigid_motion(torch.from_numpy(face[:, :2]), flow)
    points = torch.from_numpy(face[:, :2]) - motion.rest_2
    moved = points @ motion.matrix_N22[0].T + motion.moved_N2[0]
    assert motion_conditions(face, moved.numpy()) == pytest.approx(wanted[0], abs=0.15)
    assert flow[..., 0].abs().max() < 0.002
    assert flow[..., -1].abs().max() < 0.002


def test_an_open_mouth_moves_with_the_head(toy_face: Floats) -> None:
    face = toy_face.astype(np.float32)
    opened = torch.zeros(1, 2, GRID, GRID)
    opened[:, 1, 38:44, 26:38] = -0.01
    shifted = add_head_motion(opened, face, np.array([[0, 6, 0, 0, 0]], np.float32))
    alone = add_head_motion(torch.zeros_like(opened), face, np.array([[0, 6, 0, 0, 0]], np.float32))
    left = (shifted - alone)[0, 1]
    assert left.sum() == pytest.approx(float(opened[0, 1].sum()), rel=0.1)
    columns = torch.arange(GRID) + 0.5
    centre = float((left.sum(0) * columns).sum() / left.sum()) / GRID
    assert centre == pytest.approx(0.5 + 6 * 0.008 * 0.48, abs=0.004)  # the face is 0.48 wide


def test_zero_motion_changes_nothing_and_drawn_motion_has_the_wanted_spread(toy_face: Floats) -> None:
    flow = 0.01 * torch.randn(3, 2, GRID, GRID, generator=torch.Generator().manual_seed(0))
    still = add_head_motion(flow, toy_face.astype(np.float32), np.zeros((3, 5), np.float32))
    torch.testing.assert_close(still, flow, atol=1e-6, rtol=0)
    drawn = random_head_motion(20000, 1.5, np.random.default_rng(0))
    assert not drawn[:, 0].any()
    assert drawn[:, 1:].std(0) == pytest.approx(np.full(4, 1.5), rel=0.1)
    assert np.abs(np.diff(drawn, axis=0)).mean() < 0.25
