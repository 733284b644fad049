"""Lips that are apart in the photo: they meet where the flow says so, and else are where it says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.models.rigid import WHOLE, sample_places
from openemo.models.seam import LipSeam

GRID, FINER = 32, 256
TOP, BOTTOM = 0.46, 0.54
BOX = (0.25, 0.25, 0.75, 0.75)


def _places(size: int) -> Tensor:
    ticks = (torch.arange(size) + 0.5) / size
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)


def _seam() -> LipSeam:
    rows = BOX[1] + (torch.arange(64) + 0.5) / 64 * (BOX[3] - BOX[1])
    below = (rows - 0.5)[:, None].expand(64, 64)
    stiff = (2 - below.abs() / 0.1).clamp(0, 1)
    edges = torch.tensor([[0.5, TOP], [0.5, BOTTOM]])
    return LipSeam(BOX, torch.stack([below, stiff])[None], edges, torch.tensor([0.0, 1.0]), 0.1)


def _spoken(upper: float, lower: float) -> Tensor:
    """(1, 2, g, g) backward flow of lips that are shifted down so far, as smooth as coarse cells say it."""
    edges = torch.tensor([TOP + upper, BOTTOM + lower])
    y = _places(4 * GRID)[..., 1]
    # The gap in between is drawn out or pressed together.
    inside = TOP + (y - edges[0]) / (edges[1] - edges[0]).clamp_min(1e-6) * (BOTTOM - TOP)
    down = torch.where(y < edges[0], -upper, torch.where(y > edges[1], -lower, inside - y))
    cells = F.avg_pool2d(torch.stack([torch.zeros_like(down), down])[None], 4)
    return F.avg_pool2d(F.pad(cells, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _sources(flow: Tensor, seam: LipSeam | None) -> Tensor:
    """(rows,) where each row of a finer picture comes from, in the middle of the mouth."""
    places = _places(FINER)
    finer = sample_places(flow, places[None], WHOLE)
    if seam is not None:
        finer = seam.stiffen(finer, flow)
    return (places[..., 1] + finer[0, 1])[:, FINER // 2]


def _open(sources: Tensor) -> float:
    """Height of what comes from the gap, in units of the side."""
    return float(((sources > TOP) & (sources < BOTTOM)).float().mean())


def test_lips_meet_where_coarse_cells_leave_a_gap() -> None:
    for upper, lower in ((0.0, -0.08), (0.04, -0.04), (0.08, 0.0)):
        flow = _spoken(upper, lower)
        assert _open(_sources(flow, None)) > 0.02
        assert _open(_sources(flow, _seam())) <= 1 / FINER
        # And none of the rows of either lip is lost.
        sources = _sources(flow, _seam())
        lips = sources[(sources < TOP) | (sources > BOTTOM)]
        assert lips.diff().clamp_max(BOTTOM - TOP).max() < BOTTOM - TOP + 1.5 / FINER
        assert lips.diff().abs().median() == sources.diff().abs().median()


def test_the_gap_is_as_high_as_its_lips_say() -> None:
    for lower in (-0.06, -0.03, 0.0, 0.04, 0.1):
        sources = _sources(_spoken(0.0, lower), _seam())
        assert abs(_open(sources) - (BOTTOM - TOP + lower)) < 0.015
        assert (sources.diff() > -1.5 / FINER).all()  # no lip twice


def test_at_rest_and_with_the_head_alone_nothing_changes() -> None:
    for shift in (0.0, 0.03, -0.02):
        flow = _spoken(shift, shift)
        flow[:, 0] = shift
        places = sample_places(flow, _places(FINER)[None], WHOLE)
        torch.testing.assert_close(_seam().stiffen(places, flow), places, atol=1e-5, rtol=0)


def test_lips_that_press_on_each_other_do_not_overlap() -> None:
    sources = _sources(_spoken(0.06, -0.06), _seam())
    assert _open(sources) == 0
    assert (sources.diff() > -1e-4).all()
