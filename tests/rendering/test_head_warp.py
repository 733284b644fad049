"""The warp that moves a head in its picture: rigid inside, still far away, no step in between."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, face_width_px
from openemo.grids import centre_array
from openemo.rendering.head_warp import HeadWarp, Part
from openemo.rendering.sharp_sampling import SharpPicture

CROP = (0.3, 0.25, 0.4)
GRID = 32


@pytest.fixture
def points() -> Floats:
    """Landmarks of a face in the middle of a wide picture."""
    turn = 2 * np.pi * np.arange(len(FACE_OVAL)) / len(FACE_OVAL)
    points = np.full((478, 2), 0.45)
    points[list(FACE_OVAL)] = 0.5 + 0.1 * np.stack([np.sin(turn), -1.3 * np.cos(turn)], 1) - (0, 0.05)
    return points


@pytest.fixture
def warp(points: Floats) -> HeadWarp:
    person = np.zeros((128, 128), np.float32)
    y, x = np.mgrid[:128, :128] / 128
    person[np.hypot(x - 0.5, (y - 0.43) / 1.3) < 0.13] = 1
    person[(y > 0.55) & (abs(x - 0.5) < 0.3)] = 1
    return HeadWarp.of(points, person, crop=CROP)


def shift(x: float, y: float) -> Floats:
    """The head flow of a head that is moved by x, y, in units of the crop's side."""
    return -np.broadcast_to(np.array([x, y])[:, None, None], (2, GRID, GRID)).astype(np.float64)


def test_nothing_moves_at_rest(warp: HeadWarp) -> None:
    rng = np.random.default_rng(0)
    picture: Image = rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)
    assert (warp(picture, shift(0, 0), np.zeros(2)) == picture).all()


def test_the_head_with_its_hair_moves_as_one_and_the_far_wall_stands_still(warp: HeadWarp) -> None:
    moved = warp.displacement(shift(0.1, 0.05), np.zeros(2))
    x = centre_array(len(moved))
    distance = np.hypot(x[None] - 0.5, (x[:, None] - 0.43) / 1.3)
    is_head = (distance < 0.12) & (x[:, None] < 0.56)
    wanted = -np.array([0.1, 0.05]) * CROP[2]
    np.testing.assert_allclose(moved[is_head], np.broadcast_to(wanted, moved[is_head].shape), rtol=1e-4)
    is_far = distance > 0.56
    assert abs(moved[is_far]).max() < 0.004 * CROP[2]


def test_the_wall_is_bent_gently(warp: HeadWarp) -> None:
    """Local stretch, as of a shelf beside the head."""
    moved = warp.displacement(shift(0.15, 0), np.zeros(2))
    assert abs(np.gradient(moved[..., 0] * len(moved), axis=1)).max() < 0.6


@pytest.mark.parametrize("beside", [0.15, 0.4, 0.8])
def test_a_door_frame_beside_the_head_stays_nearly_straight(
    warp: HeadWarp, points: Floats, beside: float
) -> None:
    """How far an upright line is bent, in face widths, at the limit of the head's sway."""
    width = face_width_px(points)
    moved = warp.displacement(shift(0.11 * width / CROP[2], 0), np.zeros(2))[..., 0] / width
    cells = centre_array(len(moved))
    column = int(
        (np.flatnonzero((warp.head_nn > 0.999).any(0))[0] / len(moved) - beside * width) * len(moved)
    )
    seen = (cells > points[:, 1].min() - 1.2 * width) & (cells < 0.55)  # above the shoulders
    line = np.polyfit(cells[seen], moved[seen, column], 1)
    assert abs(moved[seen, column] - np.polyval(line, cells[seen])).max() < 0.016


def test_a_turn_goes_on_beyond_the_crop(warp: HeadWarp) -> None:
    """The affine part of the head's flow is the same on both sides of the crop's upper edge."""
    cells = centre_array(GRID)
    x, y = np.meshgrid(cells - 0.5, cells - 0.9)
    roll = np.stack([0.05 * y, -0.05 * x])
    moved = warp.displacement(roll, np.zeros(2))
    positions = (centre_array(len(moved)) - np.array(CROP[:2])[:, None]) / CROP[2]
    wanted = 0.05 * (positions[1][:, None] - 0.9) * np.ones(len(moved)) * CROP[2]
    rigid = warp.head_nn > 0.999
    np.testing.assert_allclose(moved[..., 0][rigid], wanted[rigid], atol=2e-4)


def test_shoulders_move_alone(warp: HeadWarp, points: Floats) -> None:
    moved = warp.displacement(shift(0, 0), np.array([0.02, 0.01]))
    low = moved[int(0.9 * len(moved)), len(moved) // 2]
    assert low[0] == pytest.approx(-0.02 * face_width_px(points), rel=0.05)
    assert abs(moved[warp.head_nn > 0.999]).max() == 0


def test_nothing_is_pulled_in_from_beyond_the_photo(points: Floats, warp: HeadWarp) -> None:
    photo = (0.0, 0.2, 1.0, 0.8)
    person = np.zeros((64, 64), np.float32)
    edged = HeadWarp.of(points, person, crop=CROP, photo=photo)
    rows = centre_array(len(warp.head_nn))
    moved = edged.displacement(shift(0.1, 0.1), np.zeros(2))
    at_edge = np.argmin(abs(rows - photo[1]))
    assert abs(moved[at_edge, :, 1]).max() < 0.005
    came_from = rows[:, None] + moved[..., 1]
    inside = (rows > photo[1]) & (rows < photo[3])
    assert came_from[inside].min() > photo[1] - 0.01
    assert came_from[inside].max() < photo[3] + 0.01


def test_a_part_of_the_wide_picture_is_moved_as_in_the_whole(warp: HeadWarp) -> None:
    rng = np.random.default_rng(1)
    picture: Image = np.repeat(np.repeat(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8), 8, 0), 8, 1)
    whole = warp(picture, shift(0.08, 0.03), np.zeros(2))
    middle = np.ascontiguousarray(picture[48:144, 48:144])
    part = warp(middle, shift(0.08, 0.03), np.zeros(2), (0.25, 0.25, 0.5))
    inside = slice(12, 84)
    np.testing.assert_allclose(
        part[inside, inside].astype(float), whole[48:144, 48:144][inside, inside].astype(float), atol=3
    )


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0), (0.25, 0.1, 0.6)])
@pytest.mark.parametrize("torso", [(0.0, 0.0), (0.03, -0.02)])
def test_only_what_moves_is_sampled_and_as_if_all_were(
    warp: HeadWarp, box: Part, torso: tuple[float, float]
) -> None:
    rng = np.random.default_rng(2)
    frame: Image = cv2.GaussianBlur(rng.integers(0, 255, (150, 180, 3), dtype=np.uint8), (0, 0), 1)
    moved = warp.displacement(shift(0.05, -0.04), np.array(torso))
    cells = len(moved)
    scale_px = frame.shape[1] / box[2]
    x, y = (
        (corner + (np.arange(n) + 0.5) / scale_px) * cells - 0.5
        for corner, n in ((box[0], 180), (box[1], 150))
    )
    at = np.stack(np.meshgrid(x, y), -1).astype(np.float32)
    sources = cv2.remap(moved, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) * scale_px
    sources += np.stack(np.meshgrid(np.arange(180), np.arange(150)), -1).astype(np.float32)
    expected = SharpPicture(frame).at(sources.astype(np.float32))
    got = warp(frame, shift(0.05, -0.04), np.array(torso), box)
    assert abs(got.astype(int) - expected).max() <= 3  # positions are rounded to 1/32 of a cell
    assert abs(got.astype(int) - frame).max() > 20
    still = (abs(sources - np.stack(np.meshgrid(np.arange(180), np.arange(150)), -1)) == 0).all(-1)
    assert still.any()
    assert (got[still] == frame[still]).all()


def stretch(moved: Floats, points: Floats) -> float:
    """The largest change of length within the face, over its length."""
    middle, half = (points.max(0) + points.min(0)) / 2, 0.7 * np.ptp(points, axis=0) / 2  # within the oval
    low, high = (np.round(end * len(moved)).astype(int) for end in (middle - half, middle + half))
    face = moved[low[1] : high[1], low[0] : high[0]] * len(moved)
    return float(max(abs(np.gradient(face, axis=axis)).max() for axis in (0, 1)))


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.4, 1.0])
def test_a_face_at_the_edge_of_the_photo_keeps_its_form(points: Floats, gap: float) -> None:
    """It moves less, the nearer the edge is, and is never squeezed."""
    edge = points[:, 0].min() - gap * 0.3 * face_width_px(points)
    person = np.zeros((64, 64), np.float32)
    warp = HeadWarp.of(points, person, crop=CROP, photo=(edge, 0.0, 1.0, 1.0))
    moved = warp.displacement(shift(0.1, 0.1), np.zeros(2))
    assert stretch(moved, points) < 0.02
    row, column = (points.mean(0)[::-1] * len(moved)).astype(int)
    assert moved[row, column, 1] == pytest.approx(-0.1 * CROP[2], rel=0.01)
    assert moved[row, column, 0] == pytest.approx(-0.1 * CROP[2] * gap**2 * (3 - 2 * gap), abs=0.006)


@pytest.mark.parametrize("gap", [0.2, 0.4, 0.55])
def test_hair_that_the_side_of_the_photo_cuts_is_hardly_stretched(points: Floats, gap: float) -> None:
    """The head moves less, and all that is between face and side takes part in the stretch."""
    width = face_width_px(points)
    edge = float(points[:, 0].min()) - gap * width
    person = np.ones((64, 64), np.float32)
    cut, free = (
        HeadWarp.of(points, mask, crop=CROP, photo=(edge, 0.0, 1.0, 1.0)).displacement(
            shift(0.2 * width / CROP[2], 0), np.zeros(2)
        )
        for mask in (person, np.zeros_like(person))
    )
    row, column = (points.mean(0)[::-1] * len(cut)).astype(int)
    inside = centre_array(len(cut)) > edge
    stretch = abs(np.gradient(cut[row, :, 0] * len(cut)))[inside & (np.arange(len(cut)) < column)]
    assert stretch.max() < 0.45
    assert abs(cut[row, column, 0]) > 0.2 * gap * 0.9 * width
    if gap > 0.3:  # where no hair reaches the side, the wall takes the stretch
        assert abs(free[row, column, 0]) == pytest.approx(0.2 * width, rel=0.02)


def test_a_face_beside_another_keeps_its_form(points: Floats) -> None:
    beside = points[:, 0].min() - 0.02
    person = np.zeros((64, 64), np.float32)
    warp = HeadWarp.of(points, person, crop=CROP, others=[(0.0, 0.2, beside, 0.8)])
    assert stretch(warp.displacement(shift(0.1, 0.1), np.zeros(2)), points) < 0.02


def test_nothing_is_pulled_in_beside_a_photo_that_lies_askew(points: Floats) -> None:
    angle = np.radians(30)
    to_photo = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = to_photo @ (0.5, 0.5)
    photo = (middle[0] - 0.35, middle[1] - 0.35, middle[0] + 0.35, middle[1] + 0.35)
    person = np.ones((64, 64), np.float32)
    warp = HeadWarp.of(points, person, crop=CROP, photo=photo, to_photo_22=to_photo)
    moved = warp.displacement(shift(0.1, -0.1), np.array([0.05, 0.05]))
    cells = centre_array(len(moved))
    positions = np.stack(np.meshgrid(cells, cells), -1)
    here, source = positions @ to_photo.T, (positions + moved) @ to_photo.T
    low, high = np.array(photo[:2]), np.array(photo[2:])
    inside = ((here > low) & (here < high)).all(-1)
    assert (source[inside] > low - 0.01).all()
    assert (source[inside] < high + 0.01).all()
    assert abs(moved).max() > 0.03
