"""The inside of a mouth: its layers go with skull and jaw, and show where lips are apart and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.models.flow import source_area
from openemo.models.inside import MouthInside
from openemo.models.rigid import rigid_motion

GRID, SIDE = 32, 96
BOX = (0.2, 0.3, 0.8, 0.9)
UPPER, LOWER = (0.8, 0.7, 0.6), (-0.6, -0.7, -0.8)
SKULL = torch.tensor([[0.3, 0.06], [0.7, 0.08], [0.5, 0.1], [0.4, 0.12]])
JAW = torch.tensor([[0.45, 0.93], [0.5, 0.95], [0.55, 0.93]])


def places(size: int) -> Tensor:
    """(size, size, 2): each cell's own place, in units of the side."""
    ticks = (torch.arange(size) + 0.5) / size
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)


def _inside(
    *, gap: bool = False, edge: float = 0.5, torn_gg2: Tensor | None = None, held_gg3: Tensor | None = None
) -> MouthInside:
    """Upper teeth of one colour down to `edge` (of the side), all else of another."""
    rows = torch.linspace(BOX[1], BOX[3], 61)[:-1] + 0.005
    opacity = (rows < edge).float()[None, None, :, None].expand(1, 1, 60, 60)
    upper, lower = (torch.tensor(c)[None, :, None, None].expand(1, 3, 60, 60) for c in (UPPER, LOWER))
    shown = (((rows > 0.45) & (rows < 0.55))[:, None] & torch.ones(60, dtype=torch.bool)).float()
    torn = places(64) if torn_gg2 is None else torn_gg2
    return MouthInside(
        box=BOX,
        upper_14hw=torch.cat([upper, opacity], 1),
        lower_13hw=lower,
        near_11hw=torch.ones(1, 1, 60, 60),
        torn_gg2=torn,
        held_gg3=torch.cat([torn, torch.zeros_like(torn[..., :1])], -1) if held_gg3 is None else held_gg3,
        gap_11hw=shown[None, None] if gap else torch.zeros(1, 1, 60, 60),
        skull_K2=SKULL,
        jaw_J2=JAW,
    )


def _opening(height: float = 0.2, fade: float = 0.2) -> Tensor:
    """(1, 2, g, g): the rows of a hole come from the line in the middle; around it all makes room."""
    y = (torch.arange(GRID) + 0.5) / GRID - 0.5
    room = (1 - (y.abs() - height / 2) / fade).clamp(0, 1) * height / 2
    flow = torch.zeros(1, 2, GRID, GRID)
    flow[:, 1] = torch.where(y.abs() < height / 2, -y, -y.sign() * room)[:, None]
    return flow


def _affine_flow(angle: float, scale: float, shift: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Backward flow of x -> turn (x - middle) + middle + shift, the turn and the shift."""
    turn = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    ticks = (torch.arange(GRID) + 0.5) / GRID
    places = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)
    offset = torch.tensor(shift)
    sources = (places - 0.5 - offset) @ torch.linalg.inv(turn).T + 0.5
    return (sources - places).permute(2, 0, 1)[None], turn, offset


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0.1, 1.0, (0.0, 0.0)), (-0.05, 1.06, (0.03, -0.02))])
def test_the_motion_of_points_is_read_from_the_flow(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    flow, turn, offset = _affine_flow(angle, scale, shift)
    still = torch.zeros_like(flow)
    motion = rigid_motion(SKULL, torch.cat([flow, still]))
    torch.testing.assert_close(motion.turn_N22, torch.stack([turn, torch.eye(2)]), atol=2e-3, rtol=0)
    expected = (SKULL - 0.5) @ turn.T + 0.5 + offset
    torch.testing.assert_close(motion.now_N2[0], expected.mean(0), atol=2e-3, rtol=0)
    places = expected[None]  # and back again
    torch.testing.assert_close(motion.back(places)[0, 0], SKULL, atol=5e-3, rtol=0)


def test_closed_lips_that_move_without_opening_show_nothing() -> None:
    frames = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    flow = torch.cat([torch.zeros(1, 2, GRID, GRID), _affine_flow(0.1, 0.95, (0.02, 0.03))[0]])
    assert torch.equal(_inside().paint(frames.clone(), flow), frames)


def test_lips_that_open_show_teeth_above_and_the_dark_below_and_skin_around_stays() -> None:
    flow = torch.cat([_opening(), torch.zeros(1, 2, GRID, GRID)])
    frames = torch.zeros(2, 3, SIDE, SIDE)
    opened, closed = _inside().paint(frames, flow)
    assert not closed.any()
    middle = SIDE // 2
    assert opened[:, middle - 5, middle].tolist() == pytest.approx(UPPER, abs=1e-4)
    assert opened[:, middle + 5, middle].tolist() == pytest.approx(LOWER, abs=1e-4)
    assert not opened[:, : round(0.36 * SIDE)].any()
    assert not opened[:, round(0.64 * SIDE) :].any()
    assert not opened[:, middle, : round(BOX[0] * SIDE)].any()


@pytest.mark.parametrize("smooth", [1, 3, 5])
def test_a_gap_is_as_high_as_the_lips_are_apart_however_smooth_the_flow(smooth: int) -> None:
    """In px of the picture; a limit of the flow's derivative would show nothing, then far too much."""
    for height_px in (0.0, 4.0, 8.0, 14.0, 20.0):
        flow = _opening(height_px / SIDE, fade=0.25)
        kernel = torch.ones(2, 1, smooth, smooth) / smooth**2
        flow = F.conv2d(F.pad(flow, (smooth // 2,) * 4, mode="replicate"), kernel, groups=2)
        frame = _inside(edge=1.0).paint(torch.zeros(1, 3, SIDE, SIDE), flow)[0, 0, :, SIDE // 2]
        assert float(frame.sum()) / UPPER[0] == pytest.approx(height_px, abs=1.5 + 0.2 * height_px)


@pytest.mark.parametrize("moves", ["skull", "jaw"])
def test_upper_teeth_go_with_the_skull_and_not_with_the_jaw(moves: str) -> None:
    flow = _opening()
    ticks = (torch.arange(GRID) + 0.5) / GRID
    part = (ticks < 0.2 if moves == "skull" else ticks > 0.85)[:, None]
    flow[:, 1] -= 0.06 * part.float()  # the part goes down
    column = _inside().paint(torch.zeros(1, 3, SIDE, SIDE), flow)[0, 0, :, SIDE // 2]
    edge = int(torch.nonzero(column > 0)[-1])
    assert edge / SIDE == pytest.approx(0.56 if moves == "skull" else 0.5, abs=0.02)


def test_a_gap_that_the_photo_shows_is_painted_at_rest_and_goes_with_the_flow() -> None:
    still, down = torch.zeros(1, 2, GRID, GRID), _affine_flow(0.0, 1.0, (0.0, 0.1))[0]
    painted = _inside(gap=True, edge=1.0).paint(torch.zeros(2, 3, SIDE, SIDE), torch.cat([still, down]))
    for frame, shift in zip(painted, (0.0, 0.1), strict=True):
        rows = torch.nonzero(frame[0, :, SIDE // 2] > 0.4)[:, 0] / SIDE
        assert rows.min().item() == pytest.approx(0.45 + shift, abs=0.02)
        assert rows.max().item() == pytest.approx(0.55 + shift, abs=0.02)


def test_a_flow_is_settled_where_the_lips_of_the_photo_meet() -> None:
    """Landmarks say that lips meet in the middle; in the photo they meet a tenth higher."""
    torn = places(128)
    torn[..., 1] += 0.1
    settled = _inside(torn_gg2=torn).settle(_opening())
    assert settled.shape == (1, 2, 128, 128)
    area = source_area(settled)[0, 0, :, 64]
    rows = (torch.arange(128) + 0.5) / 128
    drawn_out = rows[area < 0.1]
    assert drawn_out.mean() == pytest.approx(0.4, abs=0.01)  # where all comes from one line


def test_a_flow_that_is_read_where_it_lies_stays_as_it_is() -> None:
    flow = _opening()
    torch.testing.assert_close(_inside(torn_gg2=places(GRID)).settle(flow), flow, atol=1e-6, rtol=0)


def test_what_is_held_moves_as_one_place_between_the_lips() -> None:
    """In the left half, halfway in the middle column; nothing opens where all of it is."""
    held = torch.cat([places(128), torch.zeros(128, 128, 1)], -1)
    held[..., 1] = 0.5
    held[:, :64, 2], held[:, 64, 2] = 1.0, 0.5
    settled = _inside(torn_gg2=places(128), held_gg3=held).settle(_opening())
    at_line = _opening()[..., GRID // 2 - 1 : GRID // 2 + 1, :].mean()
    torch.testing.assert_close(settled[:, :, :, :64], torch.zeros(1, 2, 128, 64) + at_line)
    free = _inside(torn_gg2=places(128)).settle(_opening())
    torch.testing.assert_close(settled[..., 65:], free[..., 65:])
    torch.testing.assert_close(settled[..., 64], (free[..., 64] + at_line) / 2)
