"""Gains on the motion of the lips, and narrow gaps that are closed; head motion stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.lip_motion import LipMotion

GRID = 16
SKULL = torch.tensor([[0.3, 0.1], [0.7, 0.1], [0.5, 0.2], [0.4, 0.15]])
# The mouth is tilted: its corners lie along (0.8, 0.6).
LIPS = torch.tensor([[0.42, 0.64], [0.58, 0.76], [0.53, 0.66], [0.47, 0.74]])
ALONG, DOWN = torch.tensor([0.8, 0.6]), torch.tensor([-0.6, 0.8])


def _positions() -> Tensor:
    return centre_grid(GRID, GRID).permute(2, 0, 1)[None]


def _map(value: float) -> Tensor:
    return torch.full((1, 1, GRID, GRID), value)


def _lip_motion(
    strength: float, *, mouth: Tensor | None = None, closing_map: float = 1.0, **gains: float
) -> LipMotion:
    mouth = _map(1.0) if mouth is None else mouth
    return LipMotion(mouth, _map(1.0), _map(closing_map), LIPS, SKULL, strength, **gains)


def _at_lower_lip(direction_2: Tensor) -> Tensor:
    """(1, 2, g, g): 1 along a direction below the mouth's line, 0 elsewhere and so at the skull."""
    below = torch.einsum("nahw,a->nhw", _positions() - LIPS[:2].mean(0)[:, None, None], DOWN) > 0
    return direction_2[:, None, None] * below[:, None]


def test_the_motion_of_a_turning_head_is_not_scaled() -> None:
    # Points are found in three iterations; each leaves a fortieth of the error.
    turn = torch.tensor([[1.01, -0.02], [0.02, 1.01]])
    flow = torch.einsum("ij,njhw->nihw", turn, _positions() - 0.4) + 0.42 - _positions()
    lips = _lip_motion(1.5, width=1.5, corners=1.5)
    torch.testing.assert_close(lips(flow), flow, atol=1e-6, rtol=0)


def test_motion_relative_to_the_head_is_multiplied_by_the_gain() -> None:
    mouth = torch.zeros(1, 1, GRID, GRID)
    mouth[..., 10:14, 6:10] = 1.0
    head = torch.tensor([0.03, -0.02]).reshape(1, 2, 1, 1).expand(1, 2, GRID, GRID)
    speech = torch.zeros(1, 2, GRID, GRID)
    speech[:, 1, 9:15, 5:11] = 0.04
    moved = _lip_motion(1.5, mouth=mouth)(head + speech)
    torch.testing.assert_close(moved, head + (1 + 0.5 * mouth) * speech, atol=1e-5, rtol=0)


def test_the_width_has_a_further_gain_along_the_mouth() -> None:
    along, across = 0.02 * _at_lower_lip(ALONG), 0.02 * _at_lower_lip(DOWN)
    lips = _lip_motion(1.2, width=1.5)
    torch.testing.assert_close(lips(along + across), 1.8 * along + 1.2 * across, atol=1e-6, rtol=0)


def test_corners_have_a_further_gain_across_the_mouth() -> None:
    along, across = 0.02 * _at_lower_lip(ALONG), 0.02 * _at_lower_lip(DOWN)
    lips = _lip_motion(1.2, corners=1.5)
    torch.testing.assert_close(lips(along + across), 1.2 * along + 1.8 * across, atol=1e-6, rtol=0)


def test_the_parting_of_the_lips_is_measured_across_the_mouth() -> None:
    apart = -0.02 * _at_lower_lip(DOWN)  # backward
    lips = _lip_motion(1.7, width=1.5, closing=0.05)
    torch.testing.assert_close(lips.parting(apart), torch.tensor([0.02]), atol=1e-3, rtol=0)
    assert abs(float(lips.parting(0.02 * _at_lower_lip(ALONG))[0])) < 1e-3


@pytest.mark.parametrize(
    ("parting", "kept"),
    [(-0.02, 1.0), (0.0, 1.0), (0.004, 0.0), (0.01, 0.5), (0.016, 1.0), (0.03, 1.0)],
    ids=["pressed", "shut", "narrow", "between", "open", "wide"],
)
def test_a_narrow_gap_is_closed_and_a_wide_one_stays(parting: float, kept: float) -> None:
    # A backward flow points to where a pixel comes from, so lips that part have a negative one.
    across, along = -parting * _at_lower_lip(DOWN), 0.02 * _at_lower_lip(ALONG)
    moved = _lip_motion(1.3, closing=0.01)(across + along)
    torch.testing.assert_close(moved, 1.3 * (kept * across + along), atol=1e-4, rtol=0)
    chin = _lip_motion(1.3, closing=0.01, closing_map=0.0)(across + along)
    torch.testing.assert_close(chin, 1.3 * (across + along), atol=1e-6, rtol=0)


def test_lips_are_pressed_where_it_is_asked_for() -> None:
    across, along = -0.03 * _at_lower_lip(DOWN), 0.02 * _at_lower_lip(ALONG)
    flow = (across + along).expand(3, -1, -1, -1)
    pressed = torch.tensor([0.0, 0.75, 1.0])
    moved = _lip_motion(1.3, closing=0.01)(flow, pressed)
    kept = (1 - pressed)[:, None, None, None]
    torch.testing.assert_close(moved, 1.3 * (kept * across + along), atol=1e-4, rtol=0)
    # Lips that the picture shows apart are none that this brings together.
    assert torch.equal(_lip_motion(1.3)(flow, pressed), _lip_motion(1.3)(flow))


def test_one_half_of_the_mouth_does_not_open_alone() -> None:
    """What both halves do, and a little difference, stay."""
    x = torch.einsum("nahw,a->nhw", _positions() - LIPS[:2].mean(0)[:, None, None], ALONG)[:, None]
    apart = -0.03 * _at_lower_lip(DOWN)
    lips = _lip_motion(1.0, uneven=0.002)
    near = (x.abs() > 0.03) & (x.abs() < 0.1) & (apart.abs().amax(1, keepdim=True) > 0)

    def halves(motion: Tensor) -> Tensor:
        across = torch.einsum("nahw,a->nhw", lips(motion), DOWN)[:, None]
        return torch.stack([across[near & (x < 0)].mean(), across[near & (x > 0)].mean()])

    left, right = halves(apart * (x < 0))
    assert right < 0.4 * left < 0
    assert left + right == pytest.approx(-0.03, abs=0.003)
    torch.testing.assert_close(halves(apart), torch.tensor([-0.03, -0.03]), atol=1e-3, rtol=0)
    one, other = halves(apart * (1 + 0.05 * x.sign()))
    assert one - other == pytest.approx(0.003, abs=0.001)
