"""The layers of a portrait's mouth: its own teeth if visible, else the model's, lit like the face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openemo.face import CropRegion, FaceAnalyzer
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS
from openemo.image_tensors import images_to_tensor
from openemo.rendering.flow import warp
from openemo.rendering.landmark_flow import face_flow
from openemo.rendering.lip_contour import find_lip_contour
from openemo.rendering.mouth_colours import MouthColours, estimate_white_point
from openemo.rendering.mouth_drawing import draw_mouth_interior
from openemo.rendering.mouth_interior import TEETH_BOUNDARIES, TEETH_EDGE_ROW, TEETH_SIZE
from openemo.video.images import read_image

SIDE = 160
Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


def _teeth() -> NDArray[np.float32]:
    """White down to the biting edge, transparent below."""
    teeth = np.ones((4, *TEETH_SIZE), np.float32)
    teeth[3, TEETH_EDGE_ROW + 1 :] = 0
    return teeth


def _portrait(skin: tuple[int, int, int] = (190, 150, 130)) -> Image:
    noise = np.random.default_rng(3).integers(-9, 10, (SIDE, SIDE, 1))
    return np.clip(np.array(skin) + noise, 0, 255).astype(np.uint8)


def _with_gap(face: Floats, gap: float) -> Floats:
    """The face with a gap of this height between its lips, in units of the side; they are 0.14 wide."""
    points = face.copy()
    lips = list(INNER_LIPS)
    points[lips, 1] = 0.64 + (points[lips, 1] - 0.64) * gap / 0.008
    return points


def test_hidden_upper_teeth_end_just_below_the_line_of_the_lips_and_lower_teeth_begin_there(
    toy_face: Floats,
) -> None:
    picture = _portrait()
    picture[round(0.64 * SIDE)] //= 2
    interior = draw_mouth_interior(picture, _with_gap(toy_face, 0.001), _teeth())
    assert not interior.visible_gap_11hw.any()
    height = interior.upper_layer_14hw.shape[2]
    column = interior.upper_layer_14hw[0, 3, :, interior.upper_layer_14hw.shape[3] // 2]
    edge = interior.box[1] + float((column > 0.5).nonzero().max() + 1) / height * (
        interior.box[3] - interior.box[1]
    )
    assert 0.64 < edge < 0.66  # the lips meet at 0.64, their corners are 0.14 apart
    lower = interior.lower_layer_14hw[0, 3, :, interior.upper_layer_14hw.shape[3] // 2]
    at = (0.64 - interior.box[1]) / (interior.box[3] - interior.box[1])
    assert lower[round((at + 0.1) * height)] > 0.9
    assert lower[round((at - 0.1) * height)] < 0.1


@pytest.mark.parametrize("gap", [0.001, 0.04])
def test_lips_part_between_their_corners_and_hold_together_at_them(toy_face: Floats, gap: float) -> None:
    """Although the flow opens along a line through the whole image."""
    face = _with_gap(toy_face, gap)
    interior = draw_mouth_interior(_portrait(), face, _teeth())
    grid, size, height = 128, 640, 0.03
    y = (torch.arange(grid) + 0.5) / grid - 0.64
    room = (1 - (y.abs() - height / 2) / 0.2).clamp(0, 1) * height / 2
    flow = torch.zeros(1, 2, grid, grid)
    flow[:, 1] = torch.where(y.abs() < height / 2, -y, -y.sign() * room)[:, None]
    frame = torch.full((1, 3, size, size), 9.0)
    drawn = interior.composite(frame, interior.refine_flow(flow))[0, 0] < 8
    heights = drawn.sum(0) / size
    corners = np.sort(face[list(INNER_LIPS), 0])[[0, -1]]
    s = ((np.arange(size) + 0.5) / size - corners[0]) / np.ptp(corners)
    away = np.minimum(s, 1 - s)
    assert not heights[away < -0.02].any()
    middle = heights[away > 0.25].median()
    assert middle > height / 3
    assert heights[np.abs(away) < 0.01].max() < 0.4 * middle
    # An opening that ends bluntly leaves a stub of the lips' line beside it.
    assert heights[np.abs(away - 0.06) < 0.02].mean() < 0.6 * middle


def test_lips_that_show_teeth_close_when_the_flow_closes_them(toy_face: Floats) -> None:
    """A jaw that rises by the height of the gap, in a flow with cells of 4 px of 256, leaves no gap."""
    picture, gap = _portrait(), 0.04
    picture[round((0.64 - gap / 2) * SIDE) : round((0.64 + gap / 2) * SIDE), 70:90] = 250
    interior = draw_mouth_interior(picture, _with_gap(toy_face, gap), _teeth())
    grid, size = 64, 640
    y = (torch.arange(grid) + 0.5) / grid - 0.64 + gap / 2
    flow = torch.zeros(1, 2, grid, grid)
    flow[:, 1] = (gap * (0.5 + y * grid / 3).clamp(0, 1))[:, None]
    heights = []
    for each in (interior, replace(interior, lip_closure=None)):
        drawn = each.composite(torch.full((1, 3, size, size), 9.0), each.refine_flow(flow))[0, 0] < 8
        heights.append(float(drawn[:, size // 2 - 20 : size // 2 + 20].float().mean(1).sum()) / size)
    assert heights[0] < 0.2 * gap
    assert heights[1] > 0.3 * gap


@pytest.mark.parametrize("name", ["A000361", "S001170"])
def test_no_black_line_stands_below_the_teeth_of_a_small_smile_that_opens_a_little(
    name: str, shared_dir: Path, face_analyzer: FaceAnalyzer
) -> None:
    """Mouths of 47 px; the darkest row between upper teeth and lower lip, over the teeth."""
    image = read_image(shared_dir / f"data/portraits/congress/{name}.jpg")
    face = face_analyzer.find_all(image)[0]
    region = CropRegion.around(face, 1.8)
    side = round(region.side_px)
    x0, y0, *_ = region.box_px
    picture, points = region.extract(image, side), (face.points_px[:, :2] - (x0, y0)) / side
    interior = draw_mouth_interior(picture, points, _teeth())
    columns = points[[82, 312], 0] * side
    for opening in (0.01, 0.02):
        moved = points.copy()
        jaw = (points[:, 1] > points[14, 1] - 1e-6) & (np.abs(points[:, 0] - points[14, 0]) < 0.25)
        moved[jaw | np.isin(np.arange(len(points)), INNER_LIPS[1:10]), 1] += opening
        flow = interior.refine_flow(torch.from_numpy(face_flow(points, moved, 64))[None])
        whole = images_to_tensor([picture])
        frame = (interior.composite(warp(whole, flow, is_bicubic=True), flow)[0].mean(0) + 1) / 2
        top, bottom = round((points[13, 1]) * side) + 1, round((points[14, 1] + opening) * side) + 2
        rows = frame[top:bottom, round(columns[0]) : round(columns[1])]
        darkest = rows.min(0).values / rows.max(0).values
        assert darkest.median() > 0.42


def test_without_motion_a_portrait_that_shows_teeth_stays_as_it_is(toy_face: Floats) -> None:
    picture, points = _portrait(), _with_gap(toy_face, 0.04)
    y, x = int(0.64 * SIDE), SIDE // 2
    picture[y - 2 : y + 3, x - 8 : x + 9] = (250, 240, 220)
    interior = draw_mouth_interior(picture, points, _teeth())
    assert interior.visible_gap_11hw.max() > 0.9
    whole = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    drawn = interior.composite(whole.clone(), torch.zeros(1, 2, 64, 64))
    assert (drawn - whole).abs().max() < 0.02


def test_a_grey_portrait_has_grey_layers(toy_face: Floats) -> None:
    grey = np.repeat(_portrait((140, 140, 140))[..., :1], 3, -1)
    interior = draw_mouth_interior(grey, toy_face, _teeth())
    for layer in (
        interior.upper_layer_14hw[0, :3],
        interior.lower_layer_14hw[0, :3],
        interior.cavity.colours_33.T,
        interior.line_colour_3,
    ):
        assert (layer.amax(0) - layer.amin(0)).max() < 1e-4
    coloured = draw_mouth_interior(_portrait(), toy_face, _teeth())
    assert (coloured.lower_layer_14hw[0, 0] - coloured.lower_layer_14hw[0, 2]).max() > 0.1
    throat, cheeks, tongue = coloured.cavity.colours_33
    assert throat.mean() < cheeks.mean() < tongue.mean()
    assert tongue[0] - tongue[2] > 0.1


def test_boundaries_between_teeth_are_visible_in_a_bright_portrait(toy_face: Floats) -> None:
    teeth = 1.4 * _teeth()
    middle = TEETH_SIZE[1] // 2
    teeth[:3, :, middle - 6 : middle + 6] = 1.2
    upper = (
        draw_mouth_interior(_portrait((250, 245, 240)), toy_face, teeth)
        .upper_layer_14hw[0, :3]
        .clamp(-1, 1)
        .mean(0)
    )
    row = upper[len(upper) // 3]
    assert row[len(row) // 2] < row.max() - 0.1


def test_lines_between_mean_teeth_are_as_dark_as_those_of_one_person(toy_face: Floats) -> None:
    """Own teeth keep theirs."""
    teeth = _teeth()
    middle = TEETH_SIZE[1] // 2
    teeth[:3, :, middle - 4 : middle + 4] = 0.85

    def contrast(own: NDArray[np.float32] | None) -> float:
        upper = draw_mouth_interior(_portrait(), toy_face, teeth, own).upper_layer_14hw[0, :3].mean(0) + 1
        row = upper[len(upper) // 3]
        return float(row[len(row) // 2 - 2 : len(row) // 2 + 2].min() / row.max())

    assert contrast(None) < contrast(teeth) - 0.03


def test_white_in_a_dark_face_is_as_light_as_the_whites_of_the_eyes_say(toy_face: Floats) -> None:
    points = toy_face * SIDE

    def white(eyes: int) -> float:
        dark = _portrait((80, 55, 45))
        for x, y in np.round(points[[33, 263, 133, 362], :2]).astype(int):
            dark[y - 6 : y + 7, x - 12 : x + 13] = eyes
        lips = find_lip_contour(dark, points)
        return float(MouthColours.of(dark, points, lips, is_open=False).white.mean())

    assert white(170) > 1.15 * white(110)


def test_lower_teeth_are_narrower_than_upper_teeth_and_both_get_darker_to_the_sides(toy_face: Floats) -> None:
    teeth, middle = _teeth(), (TEETH_SIZE[1] - 1) / 2
    for line in (-TEETH_BOUNDARIES[2], TEETH_BOUNDARIES[2]):
        teeth[:3, :, round(middle + line) - 4 : round(middle + line) + 5] = 0.3
    interior = draw_mouth_interior(_portrait(), toy_face, teeth)
    upper, lower = interior.upper_layer_14hw[0, :3].mean(0), interior.lower_layer_14hw[0, :3].mean(0)
    rows, columns = upper.shape
    middle_px = columns // 2
    above, below = (layer[row, middle_px:] for layer, row in ((upper, rows // 3), (lower, rows * 11 // 20)))
    at_above, at_below = (int(row[: columns // 4].argmin()) for row in (above, below))
    assert 0.6 < at_below / at_above < 0.95
    assert above[0] > above[at_above // 2] + 0.02


def test_the_white_point_follows_the_exposure_and_does_not_mistake_dark_skin_for_dim_light(
    toy_face: Floats,
) -> None:
    points = toy_face * SIDE
    bright = estimate_white_point(_portrait(), points)
    half = estimate_white_point((_portrait() // 2).astype(np.uint8), points)
    assert half / bright == pytest.approx(np.full(3, 0.5), rel=0.03)
    dark = _portrait((80, 55, 45))
    eyes = np.round(points[[33, 263], :2]).astype(int)
    for x, y in eyes:
        dark[y - 9 : y + 10, x - 14 : x + 15] = 220
    assert estimate_white_point(dark, points).mean() > 2 * 60


def test_a_mouth_at_the_edge_of_the_square_raises_no_error(toy_face: Floats) -> None:
    for shift in (-0.45, 0.4):
        interior = draw_mouth_interior(_portrait(), toy_face + np.array([shift, 0.33, 0.0]), _teeth())
        x0, y0, x1, y1 = interior.box
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1


@pytest.mark.parametrize(
    ("wide", "open_"), [(0.6, 0.03), (0.75, 0.06), (1.25, 0.03), (1.0, 0.1), (1.0, -0.004)]
)
def test_rounded_spread_wide_and_pressed_mouths_show_their_inside_between_the_lips_alone(
    toy_face: Floats, wide: float, open_: float
) -> None:
    """Width over that at rest, and height of the opening in units of the side; below 0 lips are pressed."""
    points, size, white = _with_gap(toy_face, 0.002), 480, 9.0
    moved, lips = points.copy(), list(INNER_LIPS + OUTER_LIPS)
    moved[lips, 0] = 0.5 + (points[lips, 0] - 0.5) * wide
    lower = points[:, 1] > 0.6401
    profile = np.clip(1 - ((points[:, 0] - 0.5) / 0.1) ** 2, 0, 1)
    moved[:, 1] += np.where(lower, open_ * profile, 0)
    interior = draw_mouth_interior(_portrait(), points, _teeth())
    flow = interior.refine_flow(torch.from_numpy(face_flow(points, moved, 64))[None])
    drawn = interior.composite(torch.full((1, 3, size, size), white), flow)[0, 0] < white - 1
    if open_ < 0:
        assert not drawn.any()
        return
    y, x = drawn.nonzero().numpy().T / size
    lips_x = moved[list(INNER_LIPS), 0]
    assert x.min() > lips_x.min() - 0.015
    assert x.max() < lips_x.max() + 0.015
    assert np.ptp(x) > 0.6 * np.ptp(lips_x)
    assert y.min() > 0.64 - 0.02
    assert y.max() < 0.64 + open_ + 0.02
    middle = drawn[:, size // 2].sum() / size
    assert 0.5 * open_ < middle < 1.2 * open_ + 0.01
