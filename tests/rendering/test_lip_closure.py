"""Lips part and meet at a sharp line where the flow only says so coarsely, and follow it elsewhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.flow import FULL_BOX, sample_maps
from openemo.rendering.lip_closure import LipClosure

GRID, FINER = 32, 256
TOP, BOTTOM = 0.46, 0.54
BOX = (0.25, 0.25, 0.75, 0.75)


def _closure() -> LipClosure:
    rows = BOX[1] + (torch.arange(64) + 0.5) / 64 * (BOX[3] - BOX[1])
    offset = (rows - 0.5)[:, None].expand(64, 64)
    weight = (2 - offset.abs() / 0.1).clamp(0, 1)
    edges = torch.tensor([[0.5, TOP], [0.5, BOTTOM]])
    return LipClosure(BOX, torch.stack([offset, weight])[None], edges, torch.tensor([0.0, 1.0]), 0.1)


def _flow(upper: float, lower: float) -> Tensor:
    """(1, 2, g, g) backward flow of lips that move down by `upper` and `lower`, on a coarse grid."""
    edges = torch.tensor([TOP + upper, BOTTOM + lower])
    y = centre_grid(4 * GRID, 4 * GRID)[..., 1]
    # The gap in between is stretched or squeezed.
    inside = TOP + (y - edges[0]) / (edges[1] - edges[0]).clamp_min(1e-6) * (BOTTOM - TOP)
    down = torch.where(y < edges[0], -upper, torch.where(y > edges[1], -lower, inside - y))
    cells = F.avg_pool2d(torch.stack([torch.zeros_like(down), down])[None], 4)
    return F.avg_pool2d(F.pad(cells, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _sources(flow: Tensor, closure: LipClosure | None) -> Tensor:
    """(rows,) where each row of a finer image comes from, in the middle of the mouth."""
    positions = centre_grid(FINER, FINER)
    finer = sample_maps(flow, positions[None], FULL_BOX)
    if closure is not None:
        finer = closure.apply(finer, flow)
    return (positions[..., 1] + finer[0, 1])[:, FINER // 2]


def _gap(sources: Tensor) -> float:
    """Height of what comes from the gap, in units of the side."""
    return float(((sources > TOP) & (sources < BOTTOM)).float().mean())


def test_lips_close_where_the_coarse_flow_leaves_a_gap() -> None:
    for upper, lower in ((0.0, -0.08), (0.04, -0.04), (0.08, 0.0)):
        flow = _flow(upper, lower)
        assert _gap(_sources(flow, None)) > 0.02
        assert _gap(_sources(flow, _closure())) <= 1 / FINER
        # No row of either lip is lost.
        sources = _sources(flow, _closure())
        lips = sources[(sources < TOP) | (sources > BOTTOM)]
        assert lips.diff().clamp_max(BOTTOM - TOP).max() < BOTTOM - TOP + 1.5 / FINER
        assert lips.diff().abs().median() == sources.diff().abs().median()


def test_the_gap_is_as_high_as_the_lips_are_apart() -> None:
    for lower in (-0.06, -0.03, 0.0, 0.04, 0.1):
        sources = _sources(_flow(0.0, lower), _closure())
        assert abs(_gap(sources) - (BOTTOM - TOP + lower)) < 0.015
        assert (sources.diff() > -1.5 / FINER).all()  # no part of a lip appears twice


def test_lips_that_meet_in_the_photo_part_at_their_line_without_being_stretched() -> None:
    """A step that is spread over three cells would draw the lips out into the gap."""
    rows = BOX[1] + (torch.arange(64) + 0.5) / 64 * (BOX[3] - BOX[1])
    offset = (rows - 0.5)[:, None].expand(64, 64)
    maps = torch.stack([offset, (2 - offset.abs() / 0.06).clamp(0, 1)])[None]
    closure = LipClosure(BOX, maps, torch.full((2, 2), 0.5), torch.tensor([0.0, 1.0]), 0.06)
    # The lower lip goes down by 0.06; from one motion to the other it is 0.1.
    y = centre_grid(GRID, GRID)[..., 1]
    down = -0.06 * (0.5 + (y - 0.53) / 0.1).clamp(0, 1)
    flow = torch.stack([torch.zeros_like(down), down])[None]
    sharp, spread = _sources(flow, closure), _sources(flow, None)
    at_line = (sharp - 0.5).abs() < 1e-3
    assert abs(float(at_line.float().mean()) - 0.06) < 2 / FINER
    near = (sharp - 0.5).abs().clamp_min(1e-3) < 0.05
    lips = sharp.diff()[(near & ~at_line)[1:] & (near & ~at_line)[:-1]]
    assert (lips - 1 / FINER).abs().max() < 0.35 / FINER
    assert spread.diff()[((spread - 0.5).abs() < 0.02)[1:]].max() < 0.7 / FINER  # all of it stretched


def test_a_mouth_that_opens_by_more_than_the_reach_shows_nothing_but_its_line() -> None:
    sources = _sources(_flow(0.0, 0.3), _closure())
    assert abs(_gap(sources) - (BOTTOM - TOP + 0.3)) < 0.025
    assert (sources.diff() > -1.5 / FINER).all()


def test_head_motion_alone_changes_nothing() -> None:
    for shift in (0.0, 0.03, -0.02):
        flow = _flow(shift, shift)
        flow[:, 0] = shift
        fine_flow = sample_maps(flow, centre_grid(FINER, FINER)[None], FULL_BOX)
        torch.testing.assert_close(_closure().apply(fine_flow, flow), fine_flow, atol=1e-5, rtol=0)


def test_lips_that_press_against_each_other_do_not_overlap() -> None:
    sources = _sources(_flow(0.06, -0.06), _closure())
    assert _gap(sources) == 0
    assert (sources.diff() > -1e-4).all()
