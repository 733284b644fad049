"""The inside of a mouth: layers move with skull and jaw, and are visible only where the lips are apart."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.flow import jacobian_determinant
from openemo.rendering.mouth_cavity import MouthCavity
from openemo.rendering.mouth_interior import MouthInterior
from openemo.rendering.rigid_motion import rigid_motion

GRID, SIDE = 32, 96
BOX = (0.2, 0.3, 0.8, 0.9)
UPPER, LOWER = (0.8, 0.7, 0.6), (-0.6, -0.7, -0.8)
THROAT, CHEEKS, TONGUE, LINE = (-0.9, -1.0, -1.0), (-0.5, -0.8, -0.8), (0.1, -0.3, -0.3), (-0.4, -0.6, -0.6)
SKULL = torch.tensor([[0.3, 0.06], [0.7, 0.08], [0.5, 0.1], [0.4, 0.12]])
JAW = torch.tensor([[0.45, 0.93], [0.5, 0.95], [0.55, 0.93]])


def _interior(
    *,
    gap: bool = False,
    edge: float = 0.5,
    flow_positions_GG2: Tensor | None = None,
    mouth_line_GG3: Tensor | None = None,
    line: tuple[float, float, float] = UPPER,
    shading: float = 0.0,
    lower_opacity: float = 1.0,
) -> MouthInterior:
    """Upper teeth of one colour down to `edge`, in units of the side, and a lower layer of another colour."""
    rows = torch.linspace(BOX[1], BOX[3], 61)[:-1] + 0.005
    opacity = (rows < edge).float()[None, None, :, None].expand(1, 1, 60, 60)
    upper, lower = (torch.tensor(c)[None, :, None, None].expand(1, 3, 60, 60) for c in (UPPER, LOWER))
    shown = (((rows > 0.45) & (rows < 0.55))[:, None] & torch.ones(60, dtype=torch.bool)).float()
    positions = centre_grid(64, 64) if flow_positions_GG2 is None else flow_positions_GG2
    return MouthInterior(
        box=BOX,
        upper_layer_14hw=torch.cat([upper, opacity], 1),
        lower_layer_14hw=torch.cat([lower, torch.full((1, 1, 60, 60), lower_opacity)], 1),
        cavity=MouthCavity(
            lower_edge_2=torch.tensor([0.5, 0.5]),
            across_2=torch.tensor([0.5, 0.0]),
            down_2=torch.tensor([0.0, 0.5]),
            colours_33=torch.tensor([THROAT, CHEEKS, TONGUE]),
        ),
        line_colour_3=torch.tensor(line),
        corners_22=torch.tensor([[0.25, 0.5], [0.75, 0.5]]),
        shading=shading,
        lip_region_11hw=torch.ones(1, 1, 60, 60),
        flow_positions_GG2=positions,
        mouth_line_GG3=torch.cat([positions, torch.zeros_like(positions[..., :1])], -1)
        if mouth_line_GG3 is None
        else mouth_line_GG3,
        visible_gap_11hw=shown[None, None] if gap else torch.zeros(1, 1, 60, 60),
        skull_points_K2=SKULL,
        jaw_points_J2=JAW,
    )


def _opening(height: float = 0.2, fade: float = 0.2) -> Tensor:
    """(1, 2, g, g): an opening whose rows come from the line in the middle; the rest moves aside."""
    y = (torch.arange(GRID) + 0.5) / GRID - 0.5
    room = (1 - (y.abs() - height / 2) / fade).clamp(0, 1) * height / 2
    flow = torch.zeros(1, 2, GRID, GRID)
    flow[:, 1] = torch.where(y.abs() < height / 2, -y, -y.sign() * room)[:, None]
    return flow


def _affine_flow(angle: float, scale: float, shift: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Backward flow of x -> matrix (x - 0.5) + 0.5 + shift; the matrix; the shift."""
    matrix = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    positions = centre_grid(GRID, GRID)
    offset = torch.tensor(shift)
    sources = (positions - 0.5 - offset) @ torch.linalg.inv(matrix).T + 0.5
    return (sources - positions).permute(2, 0, 1)[None], matrix, offset


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0.1, 1.0, (0.0, 0.0)), (-0.05, 1.06, (0.03, -0.02))])
def test_the_motion_of_points_is_read_from_the_flow(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    flow, matrix, offset = _affine_flow(angle, scale, shift)
    still = torch.zeros_like(flow)
    motion = rigid_motion(SKULL, torch.cat([flow, still]))
    torch.testing.assert_close(motion.matrix_N22, torch.stack([matrix, torch.eye(2)]), atol=2e-3, rtol=0)
    expected = (SKULL - 0.5) @ matrix.T + 0.5 + offset
    torch.testing.assert_close(motion.moved_N2[0], expected.mean(0), atol=2e-3, rtol=0)
    torch.testing.assert_close(motion.inverse(expected[None])[0, 0], SKULL, atol=5e-3, rtol=0)


def test_closed_lips_that_move_without_opening_show_no_inside() -> None:
    frames = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    flow = torch.cat([torch.zeros(1, 2, GRID, GRID), _affine_flow(0.1, 0.95, (0.02, 0.03))[0]])
    assert torch.equal(_interior().composite(frames.clone(), flow), frames)


def test_open_lips_show_upper_and_lower_layer_and_leave_the_skin_around_them() -> None:
    flow = torch.cat([_opening(), torch.zeros(1, 2, GRID, GRID)])
    frames = torch.zeros(2, 3, SIDE, SIDE)
    opened, closed = _interior().composite(frames, flow)
    assert not closed.any()
    middle = SIDE // 2
    assert opened[:, middle - 5, middle].tolist() == pytest.approx(UPPER, abs=1e-4)
    assert opened[:, middle + 5, middle].tolist() == pytest.approx(LOWER, abs=1e-4)
    assert not opened[:, : round(0.36 * SIDE)].any()
    assert not opened[:, round(0.64 * SIDE) :].any()
    assert not opened[:, middle, : round(BOX[0] * SIDE)].any()


@pytest.mark.parametrize("smooth", [1, 3, 5])
def test_a_gap_is_as_high_as_the_lips_are_apart_however_smooth_the_flow(smooth: int) -> None:
    """In px of the frame. A threshold on the flow's derivative would show nothing, then far too much."""
    for height_px in (0.0, 4.0, 8.0, 14.0, 20.0):
        flow = _opening(height_px / SIDE, fade=0.25)
        kernel = torch.ones(2, 1, smooth, smooth) / smooth**2
        flow = F.conv2d(F.pad(flow, (smooth // 2,) * 4, mode="replicate"), kernel, groups=2)
        frame = _interior(edge=1.0).composite(torch.zeros(1, 3, SIDE, SIDE), flow)[0, 0, :, SIDE // 2]
        assert float(frame.sum()) / UPPER[0] == pytest.approx(height_px, abs=1.5 + 0.2 * height_px)


@pytest.mark.parametrize("moves", ["skull", "jaw"])
def test_upper_teeth_move_with_the_skull_and_not_with_the_jaw(moves: str) -> None:
    flow = _opening()
    ticks = (torch.arange(GRID) + 0.5) / GRID
    part = (ticks < 0.2 if moves == "skull" else ticks > 0.85)[:, None]
    flow[:, 1] -= 0.06 * part.float()  # this part moves down
    column = _interior().composite(torch.zeros(1, 3, SIDE, SIDE), flow)[0, 0, :, SIDE // 2]
    edge = int(torch.nonzero(column > 0)[-1])
    assert edge / SIDE == pytest.approx(0.56 if moves == "skull" else 0.5, abs=0.02)


def test_a_gap_that_the_photo_shows_is_drawn_without_motion_and_moves_with_the_flow() -> None:
    still, down = torch.zeros(1, 2, GRID, GRID), _affine_flow(0.0, 1.0, (0.0, 0.1))[0]
    drawn = _interior(gap=True, edge=1.0).composite(torch.zeros(2, 3, SIDE, SIDE), torch.cat([still, down]))
    for frame, shift in zip(drawn, (0.0, 0.1), strict=True):
        rows = torch.nonzero(frame[0, :, SIDE // 2] > 0.4)[:, 0] / SIDE
        assert rows.min().item() == pytest.approx(0.45 + shift, abs=0.02)
        assert rows.max().item() == pytest.approx(0.55 + shift, abs=0.02)


def test_the_refined_flow_opens_where_the_lips_of_the_photo_meet() -> None:
    """By the landmarks the lips meet in the middle; in the photo they meet 0.1 of the side higher."""
    positions = centre_grid(128, 128)
    positions[..., 1] += 0.1
    refined = _interior(flow_positions_GG2=positions).refine_flow(_opening())
    assert refined.shape == (1, 2, 128, 128)
    area = jacobian_determinant(refined)[0, 0, :, 64]
    rows = (torch.arange(128) + 0.5) / 128
    stretched = rows[area < 0.1]
    assert stretched.mean() == pytest.approx(0.4, abs=0.01)  # these rows come from one line


def test_a_flow_that_is_read_at_its_own_cells_stays_as_it_is() -> None:
    flow = _opening()
    torch.testing.assert_close(
        _interior(flow_positions_GG2=centre_grid(GRID, GRID)).refine_flow(flow), flow, atol=1e-6, rtol=0
    )


def test_parts_that_hold_together_move_with_the_mouth_line() -> None:
    """Fully in the left half, half in the middle column; nothing opens in the left half."""
    line = torch.cat([centre_grid(128, 128), torch.zeros(128, 128, 1)], -1)
    line[..., 1] = 0.5
    line[:, :64, 2], line[:, 64, 2] = 1.0, 0.5
    refined = _interior(flow_positions_GG2=centre_grid(128, 128), mouth_line_GG3=line).refine_flow(_opening())
    at_line = _opening()[..., GRID // 2 - 1 : GRID // 2 + 1, :].mean()
    torch.testing.assert_close(refined[:, :, :, :64], torch.zeros(1, 2, 128, 64) + at_line)
    free = _interior(flow_positions_GG2=centre_grid(128, 128)).refine_flow(_opening())
    torch.testing.assert_close(refined[..., 65:], free[..., 65:])
    torch.testing.assert_close(refined[..., 64], (free[..., 64] + at_line) / 2)


def _column(interior: MouthInterior, flow: Tensor, tongue: float | None = None) -> Tensor:
    """(3, SIDE): the middle column of a frame that was 0 everywhere."""
    tongue_N = None if tongue is None else torch.tensor([tongue])
    return interior.composite(torch.zeros(1, 3, SIDE, SIDE), flow, tongue_N)[0, :, :, SIDE // 2]


def test_lips_that_nearly_meet_show_their_line_and_no_teeth() -> None:
    """A white line of teeth at m, b, p: the teeth go before the gap does."""
    interior = _interior(edge=1.0, line=LINE)
    thin = _column(interior, _opening(1.5 / SIDE, fade=0.25))
    assert thin.max() <= 0
    assert thin[0].min() >= LINE[0] - 0.01
    wide = _column(interior, _opening(10 / SIDE, fade=0.25))
    assert wide[:, SIDE // 2].tolist() == pytest.approx(UPPER, abs=1e-3)


def test_the_lips_throw_a_shadow_on_the_teeth_and_a_rounded_mouth_a_deeper_one() -> None:
    flow = _opening(0.2)
    lit, shaded = (_column(_interior(edge=1.0, shading=shading), flow)[0] for shading in (0.0, 1.0))
    inside = torch.nonzero(lit > UPPER[0] - 0.01)[:, 0]
    top, middle = int(inside[0]), SIDE // 2
    assert shaded[middle] == pytest.approx(UPPER[0], abs=0.02)
    assert shaded[top] < shaded[middle] - 0.2
    x = (torch.arange(GRID) + 0.5) / GRID - 0.5
    rounded = flow.clone()
    rounded[:, 0] += 0.3 * x * (x.abs() < 0.4)  # what was 0.5 wide is 0.38 wide
    assert _column(_interior(edge=1.0, shading=1.0), rounded)[0, middle] < shaded[middle] - 0.3
    spread = flow.clone()
    spread[:, 0] -= 0.3 * x * (x.abs() < 0.4)
    lit, flat = (_column(_interior(edge=1.0, shading=shading), spread)[0] for shading in (0.0, 1.0))
    assert ((flat + 1) / (lit + 1))[lit > UPPER[0] - 0.01].min() > 0.8  # lips on the teeth shade them less


def test_a_wide_opening_shows_the_tongue_below_a_darker_throat_and_its_tip_rises_on_demand() -> None:
    flow = _opening(0.3)
    interior = _interior(edge=0.0, lower_opacity=0.0, line=LINE)
    resting, raised = (_column(interior, flow, tongue)[0] for tongue in (None, 1.0))
    middle = SIDE // 2
    low, high = resting[middle - 2], resting[middle - 12]  # above the lower teeth, and below the upper lip
    assert low > high + 0.3
    assert high == pytest.approx(THROAT[0], abs=0.2)
    assert raised[middle - 10] > high + 0.5
    torch.testing.assert_close(_column(interior, flow, 0.0)[0], resting)


def test_the_edges_of_an_opening_have_no_notches_where_the_flow_has_them() -> None:
    """A single column of cells opens less."""
    flow = _opening(0.2)
    flow[..., GRID // 2] *= 0.6
    drawn = _interior(edge=1.0).composite(torch.zeros(1, 3, SIDE, SIDE), flow)[0, 0] / UPPER[0]
    heights = drawn.sum(0)[30:66]
    cells = (1 - jacobian_determinant(flow)).clamp(0, 1).sum(2)[0, 0] * SIDE / GRID
    assert heights.diff().abs().max() < 0.25 * cells.diff().abs().max()
