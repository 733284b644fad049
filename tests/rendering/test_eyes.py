"""Eyes that look elsewhere and close: nothing else moves, and a shut eye shows no eyeball."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import CropRegion, FaceAnalyzer
from openemo.face.landmarks import (
    BROWS,
    LEFT_EYE,
    LEFT_IRIS,
    LIDS,
    RIGHT_EYE,
    RIGHT_IRIS,
    eye_opening,
)
from openemo.rendering.eye_shape import EyeShape
from openemo.rendering.eyeball import Eyeball
from openemo.rendering.eyes import Eyes
from openemo.rendering.landmark_flow import face_flow
from openemo.rendering.picture_warp import move_pictures
from openemo.video.images import read_image
from tests.conftest import ASSETS

SIDE = 640
SKIN, WHITE, IRIS, LASHES = (190, 150, 130), (225, 225, 235), (40, 60, 200), (30, 20, 20)
EYE_WIDTH_PX = 0.08 * SIDE
STILL = np.zeros(2)
Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


@pytest.fixture
def face(toy_face: Floats) -> Floats:
    """The toy face with eyes that are a third taller and mirror images, and irises in their middle."""
    points = toy_face[:, :2].copy()
    for one, other in ((RIGHT_EYE, LEFT_EYE), (LIDS[:16], LIDS[16:])):
        points[list(other)] = (1, 0) + points[list(one)] * (-1, 1)
    for eye, iris, x in ((RIGHT_EYE, RIGHT_IRIS, 0.41), (LEFT_EYE, LEFT_IRIS, 0.59)):
        points[list(eye), 1] = 0.42 + 1.3 * (points[list(eye), 1] - 0.42)
        ring = 0.016 * np.array([(0, 0), (1, 0), (0, -1), (-1, 0), (0, 1)])
        points[list(iris)] = ring + np.array([x, 0.42])
    return points


def _turned(points: Floats, degrees: float) -> Floats:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((points - 0.5) @ turn.T + 0.5)


def _portrait(points: Floats, lashes_px: int = 5, grain: float = 4.0) -> Image:
    """Skin with grain, eyeballs between the lids, and a dark line of lashes along the upper lids."""
    noise = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (SIDE, SIDE)), (0, 0), 1)
    picture = np.array(SKIN) + grain * (noise / noise.std())[..., None] * np.ones(3)
    for eye, iris in ((RIGHT_EYE, RIGHT_IRIS), (LEFT_EYE, LEFT_IRIS)):
        contour = np.round(points[list(eye)] * SIDE * 16).astype(np.int32)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillPoly(mask, [contour], (1,), shift=4)
        if lashes_px:
            upper = np.round(points[[eye[0], *eye[:7:-1]]] * SIDE * 16).astype(np.int32)
            cv2.polylines(picture, [upper], False, LASHES, lashes_px, cv2.LINE_AA, 4)
        picture[mask > 0] = WHITE
        disc = np.zeros((SIDE, SIDE), np.uint8)
        radius = np.linalg.norm(points[iris[1]] - points[iris[0]])
        centre = np.round(points[iris[0]] * SIDE * 16).astype(int)
        cv2.circle(disc, (int(centre[0]), int(centre[1])), round(radius * SIDE * 16), 1, -1, cv2.LINE_8, 4)
        picture[(mask > 0) & (disc > 0)] = IRIS
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _drawn(eyes: Eyes, picture: Image, gaze: Floats, closed: float | tuple[float, float]) -> Image:
    result = picture.copy()
    for patch in eyes.draw(gaze, np.broadcast_to(closed, 2)):
        height, width = patch.pixels.shape[:2]
        result[patch.y0 : patch.y0 + height, patch.x0 : patch.x0 + width] = patch.pixels
    return result


def _is_iris(picture: Image) -> NDArray[np.bool_]:
    return np.asarray(picture[..., 2].astype(int) > picture[..., 0].astype(int) + 60)


def _iris_middle(picture: Image, half: slice) -> Floats:
    """x, y of the iris in one half of the picture, px."""
    rows, columns = np.nonzero(_is_iris(picture[:, half]))
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize("degrees", [0.0, 15.0, -10.0])
def test_a_blink_covers_the_eyeball_until_none_of_it_is_visible(face: Floats, degrees: float) -> None:
    points = _turned(face, degrees)
    picture = _portrait(points)
    eyes = Eyes(picture, points)
    seen = [int(_is_iris(_drawn(eyes, picture, STILL, closed)).sum()) for closed in (0, 0.25, 0.5, 0.75, 1)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] > 500
    assert 0.3 < seen[2] / seen[0] < 0.7
    assert seen[4] < 0.01 * seen[0]


def test_both_eyes_close_alike_and_each_on_its_own(face: Floats) -> None:
    picture = _portrait(face, grain=0)
    picture[:, SIDE // 2 :] = picture[:, : SIDE // 2][:, ::-1]
    eyes = Eyes(picture, face)
    left, right = np.split(_drawn(eyes, picture, STILL, 0.6), 2, axis=1)
    assert np.abs(left.astype(int) - right[:, ::-1]).max() <= 2  # rounding
    wink = _drawn(eyes, picture, STILL, (1, 0))
    assert np.array_equal(wink[:, SIDE // 2 :], picture[:, SIDE // 2 :])
    assert not _is_iris(wink[:, : SIDE // 2]).any()


def test_only_the_lids_change_and_brows_stay(face: Floats) -> None:
    face[list(BROWS), 1] = 0.365
    picture = _portrait(face)
    for row in np.unique(np.round(face[list(BROWS), 1] * SIDE).astype(int)):
        picture[row - 4 : row + 4, 200:440] = (60, 40, 30)
    eyes = Eyes(picture, face)
    for gaze, closed in ((STILL, 1.0), (np.array([0.2, 0.1]), 0.3)):
        changed = np.argwhere((_drawn(eyes, picture, gaze, closed) != picture).any(-1)) / SIDE
        assert changed[:, 0].min() > face[list(LIDS), 1].min() - 0.005
        assert changed[:, 0].max() < face[list(LIDS), 1].max() + 0.01
        assert changed[:, 1].min() > 0.41 - 0.04 * 1.5
        assert changed[:, 1].max() < 0.59 + 0.04 * 1.5


def test_the_visible_eyeball_does_not_move_in_a_blink(face: Floats) -> None:
    picture = _portrait(face)
    columns = [round(0.41 * SIDE), round(0.59 * SIDE)]
    row = round(0.42 * SIDE) + 6
    for column in columns:
        picture[row, column - 3 : column + 4] = (255, 255, 90)
    half = _drawn(Eyes(picture, face), picture, STILL, 0.4)
    for column in columns:
        seen, before = (part[row, column - 3 : column + 4].astype(int) for part in (half, picture))
        assert np.abs(seen - before).max() <= 3  # the shade of the lid


def test_a_shut_lid_has_the_colour_and_the_grain_of_the_skin(face: Floats) -> None:
    picture = _portrait(face)
    shut = _drawn(Eyes(picture, face), picture, STILL, 1.0)
    middle = round(0.41 * SIDE)
    lid = shut[round(0.405 * SIDE) : round(0.422 * SIDE), middle - 10 : middle + 10].astype(float)
    assert np.abs(lid.mean((0, 1)) / SKIN - 1).max() < 0.15
    skin = picture[round(0.46 * SIDE) : round(0.478 * SIDE), middle - 10 : middle + 10].astype(float)
    fine = [(part - cv2.GaussianBlur(part, (0, 0), 2)).std() for part in (lid, skin)]
    assert 0.4 < fine[0] / fine[1] < 1.3


def test_a_shut_lid_has_the_dots_of_a_print(face: Floats) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    dots = 45 * np.sin(2 * np.pi * (x + y) / 9) * np.sin(2 * np.pi * (x - y) / 9)
    picture = np.clip(_portrait(face, grain=0) + dots[..., None], 0, 255).astype(np.uint8)
    shut = _drawn(Eyes(picture, face), picture, STILL, 1.0)
    middle = round(0.41 * SIDE)
    columns = slice(middle - 10, middle + 10)
    lid, skin = shut[round(0.405 * SIDE) : round(0.422 * SIDE), columns], picture[295:306, columns]
    contrast = [(part - cv2.GaussianBlur(part, (0, 0), 6)).std() for part in (lid / 1.0, skin / 1.0)]
    assert 0.5 < contrast[0] / contrast[1] < 1.3


def test_lashes_go_down_with_the_lid(face: Floats) -> None:
    picture = _portrait(face, lashes_px=9)
    shut = _drawn(Eyes(picture, face), picture, STILL, 1.0).astype(float).mean(-1)
    columns = slice(round(0.40 * SIDE), round(0.42 * SIDE))
    upper = round(face[159, 1] * SIDE)
    skin, before = float(np.mean(SKIN)), picture.astype(float).mean(-1)
    assert before[upper - 4 : upper - 1, columns].mean() < 0.4 * skin
    assert shut[upper - 4 : upper - 1, columns].mean() > 0.8 * skin
    line = shut[upper : upper + 40, columns].mean(1)
    assert line.min() < 0.65 * skin
    assert abs(upper + int(line.argmin()) - face[145, 1] * SIDE) < 0.08 * EYE_WIDTH_PX


def _right_eye(shut: Image) -> Floats:
    """Brightness of the columns in the middle of the right eye, from the upper lid down to the cheek."""
    columns = slice(round(0.395 * SIDE), round(0.425 * SIDE))
    return np.asarray(shut[round(0.405 * SIDE) : round(0.46 * SIDE), columns].astype(float).mean(-1))


def test_no_pale_slit_is_left_between_lids_that_landmarks_place_too_high(face: Floats) -> None:
    seen = face.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):  # the white of the eye goes on below the landmarks' lower lid
        seen[list(eye[1:8]), 1] += 2.5 / SIDE
    picture = _portrait(seen, grain=0)
    rows = _right_eye(_drawn(Eyes(picture, face), picture, STILL, 1.0)).mean(1)
    assert _right_eye(picture).max() > 1.2 * np.mean(SKIN)
    line = int(rows.argmin())
    assert rows[line] < 0.6 * np.mean(SKIN)
    assert rows[line - 4 :].max() < 1.03 * np.mean(SKIN)


@pytest.mark.parametrize("lashes_px", [0, 7])
def test_single_lashes_hang_from_the_dark_line_in_which_the_lids_meet(face: Floats, lashes_px: int) -> None:
    """Also from lids whose own lashes are too fair or too small to be seen."""
    picture = _portrait(face, lashes_px, grain=0)
    eye = _right_eye(_drawn(Eyes(picture, face), picture, STILL, 1.0))
    line = int(eye.mean(1).argmin())
    above, below = eye[line - 8 : line - 4], eye[line + 4 : line + 6]
    assert eye[line].mean() < 0.65 * min(above.mean(), eye[line + 12 :].mean())
    assert below.mean() < 0.95 * np.mean(SKIN)
    assert np.ptp(below, axis=1).min() > 0.06 * np.mean(SKIN) > np.ptp(above, axis=1).max()


@pytest.mark.parametrize(("right", "down"), [(0.1, 0.0), (-0.1, 0.0), (0.0, 0.04), (0.07, -0.03)])
def test_gaze_moves_both_irises_by_what_is_asked(face: Floats, right: float, down: float) -> None:
    picture = _portrait(face)
    drawn = _drawn(Eyes(picture, face), picture, np.array([right, down]), 0.0)
    for half in (slice(0, SIDE // 2), slice(SIDE // 2, SIDE)):
        moved = (_iris_middle(drawn, half) - _iris_middle(picture, half)) / EYE_WIDTH_PX
        assert moved[0] == pytest.approx(right, abs=0.02)
        # The lids cut off what goes behind them.
        assert moved[1] * np.sign(down) >= 0.5 * abs(down) - 0.005
        assert abs(moved[1]) < abs(down) + 0.02


def test_a_light_iris_around_a_dark_pupil_moves_as_a_whole(face: Floats) -> None:
    picture = _portrait(face, grain=0)
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        x, y = np.round(face[iris[0]] * SIDE).astype(int)
        for radius, colour in ((10, (150, 170, 165)), (4, (25, 25, 25))):
            cv2.circle(picture, (int(x), int(y)), radius, colour, -1)
    moved_px = 5
    drawn = _drawn(Eyes(picture, face), picture, np.array([moved_px / EYE_WIDTH_PX, 0]), 0.0)
    x, y = np.round(face[RIGHT_IRIS[0]] * SIDE).astype(int)
    before = picture[y - 5 : y + 6, x - 7 : x + 8].astype(int)
    after = drawn[y - 5 : y + 6, x - 7 + moved_px : x + 8 + moved_px].astype(int)
    assert np.percentile(np.abs(after - before), 90) < 30


def test_what_comes_out_from_under_a_made_up_lid_is_as_dark_as_its_edge(face: Floats) -> None:
    def hidden(make_up_px: int) -> float:
        picture = _portrait(face, lashes_px=0, grain=0)
        upper = np.round(face[[RIGHT_EYE[0], *RIGHT_EYE[:7:-1]]] * SIDE * 16).astype(np.int32)
        if make_up_px:
            cv2.polylines(picture, [upper], False, LASHES, make_up_px, cv2.LINE_AA, 4)
        shape = EyeShape.of(face * SIDE, RIGHT_EYE, LIDS[:16], RIGHT_IRIS, (SIDE, SIDE))
        assert shape is not None
        ball = Eyeball(shape, shape.cut(picture)).looking(0, 0)
        beside = np.abs(shape.x - shape.iris_px[0]) > 1.3 * shape.iris_radius_px
        return float(ball[(shape.t < shape.upper - 2) & (shape.openness > 0.3) & beside].mean())

    assert hidden(0) > 0.8 * np.mean(WHITE)
    assert hidden(7) < 0.5 * np.mean(WHITE)


@pytest.mark.parametrize("right", [-0.3, 0.3])
def test_irises_stay_out_of_the_corners_and_both_go_as_far(face: Floats, right: float) -> None:
    """Also where one of them is nearer to its corner in the photo, as in a face that is turned."""
    face[list(RIGHT_IRIS), 0] += 0.008
    face[list(LEFT_IRIS), 0] += 0.008
    picture = _portrait(face)
    drawn = _drawn(Eyes(picture, face), picture, np.array([right, 0.0]), 0.0)
    moved = []
    for eye, half in ((RIGHT_EYE, slice(0, SIDE // 2)), (LEFT_EYE, slice(SIDE // 2, SIDE))):
        moved.append(float(_iris_middle(drawn, half)[0] - _iris_middle(picture, half)[0]) / EYE_WIDTH_PX)
        columns = np.nonzero(_is_iris(drawn[:, half]))[1] + half.start
        corners = np.sort(face[[eye[0], eye[8]], 0]) * SIDE
        white = min(columns.min() - corners[0], corners[1] - columns.max()) / EYE_WIDTH_PX
        assert 0.05 < white < 0.2
    assert moved[0] == pytest.approx(moved[1], abs=0.02)
    assert moved[0] * np.sign(right) > 0.05


def test_an_eye_that_is_less_open_looks_no_less_far_than_the_other(face: Floats) -> None:
    face[list(RIGHT_EYE), 1] = 0.42 + 0.35 * (face[list(RIGHT_EYE), 1] - 0.42)
    picture = _portrait(face, lashes_px=0)
    drawn = _drawn(Eyes(picture, face), picture, np.array([0.1, 0.0]), 0.0)
    left, right = (
        float(_iris_middle(drawn, half)[0] - _iris_middle(picture, half)[0])
        for half in (slice(0, SIDE // 2), slice(SIDE // 2, SIDE))
    )
    assert left == pytest.approx(right, abs=0.03 * EYE_WIDTH_PX)  # lids cut off most of it
    assert right > 0.01 * EYE_WIDTH_PX


def test_irises_stay_round_in_a_flow_that_opens_the_lids(face: Floats) -> None:
    picture = _portrait(face)
    lids = face.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        lids[list(eye), 1] = 0.42 + 1.5 * (lids[list(eye), 1] - 0.42)
    flow = face_flow(face, lids, 64)

    for iris in (RIGHT_IRIS, LEFT_IRIS):
        x, y = np.round(face[iris[0]] * SIDE).astype(int)
        cv2.circle(picture, (int(x), int(y)), 5, (10, 120, 10), -1)

    def height_over_width(flow_2gg: NDArray[np.float32] | None) -> float:
        drawn = picture.copy()
        for patch in Eyes(picture, face).draw(STILL, STILL, flow_2gg):
            drawn[patch.box] = patch.pixels
        opened = move_pictures([drawn], flow[None], SIDE)[0].astype(int)
        rows, columns = np.nonzero(opened[:, : SIDE // 2, 1] > opened[:, : SIDE // 2, 2] + 50)
        return float(rows.std() / columns.std())

    stretched = height_over_width(None)
    assert stretched > 1.2
    assert height_over_width(flow) < 1 + 0.5 * (stretched - 1)
    assert Eyes(picture, face).draw(STILL, STILL, np.zeros_like(flow)) == []


def test_lids_follow_a_gaze_up_and_down(face: Floats) -> None:
    picture = _portrait(face)
    eyes = Eyes(picture, face)
    column = round(0.41 * SIDE)
    # The first row that is no skin and no lashes.
    upper = [
        int(np.argmax(_is_iris(_drawn(eyes, picture, np.array([0, down]), 0.0))[:, column]))
        for down in (-0.1, 0.0, 0.1)
    ]
    assert 0.03 < (upper[1] - upper[0]) / EYE_WIDTH_PX < 0.11  # one row is 0.02
    assert 0.05 < (upper[2] - upper[1]) / EYE_WIDTH_PX < 0.11


def test_eyes_as_they_are_give_nothing_to_draw_and_closed_ones_have_nothing_to_move(face: Floats) -> None:
    picture = _portrait(face)
    assert Eyes(picture, face).draw(STILL, STILL) == []
    closed = face.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        closed[list(eye), 1] = 0.42
    assert Eyes(picture, closed).draw(np.array([0.2, 0.1]), STILL) == []


def test_rims_of_glasses_stay_where_they_are(face: Floats) -> None:
    picture = _portrait(face)
    frame = np.zeros((SIDE, SIDE), np.uint8)
    for x in (0.41, 0.59):
        centre = (round(x * SIDE), round(0.425 * SIDE))
        cv2.ellipse(frame, centre, (round(0.06 * SIDE), round(0.03 * SIDE)), 0, 0, 360, 255, 4)
    bridge = round(0.41 * SIDE)
    cv2.line(frame, (round(0.47 * SIDE), bridge), (round(0.53 * SIDE), bridge), 255, 4)
    picture[frame > 0] = (50, 40, 45)
    shut = _drawn(Eyes(picture, face), picture, STILL, 1.0)
    assert not _is_iris(shut).any()
    changes = np.abs(shut[frame > 0].astype(int) - picture[frame > 0]).mean(-1)
    assert (changes < 40).mean() > 0.95


def test_the_fold_of_a_lid_behind_glasses_is_no_rim(face: Floats) -> None:
    """It goes when the lid unfolds, although its line meets the rim."""
    picture = _portrait(face, lashes_px=0)
    frame, folds = np.zeros((2, SIDE, SIDE), np.uint8)
    for eye, x in ((RIGHT_EYE, 0.41), (LEFT_EYE, 0.59)):
        centre = (round(x * SIDE), round(0.42 * SIDE))
        cv2.ellipse(frame, centre, (round(0.065 * SIDE), round(0.06 * SIDE)), 0, 0, 360, 255, 4)
        fold = np.round((face[[eye[0], *eye[:7:-1]]] - (0, 0.009)) * SIDE * 16).astype(np.int32)
        cv2.polylines(folds, [fold], False, 255, 3, cv2.LINE_AA, 4)
        for side in (-1, 1):
            end = round((x + side * 0.04) * SIDE)
            cv2.line(folds, (end, round(0.411 * SIDE)), (end + side * round(0.025 * SIDE), centre[1]), 255, 3)
    cv2.line(frame, (round(0.47 * SIDE), centre[1]), (round(0.53 * SIDE), centre[1]), 255, 4)
    picture[folds > 0] = (105, 80, 70)
    picture[frame > 0] = (50, 40, 45)
    shut = _drawn(Eyes(picture, face), picture, STILL, 1.0)
    middle = np.s_[round(0.37 * SIDE) : round(0.41 * SIDE), round(0.4 * SIDE) : round(0.42 * SIDE)]
    is_fold = folds[middle] > 128
    assert is_fold.sum() > 20
    assert shut[middle][is_fold].mean() > 0.7 * np.mean(SKIN)
    np.testing.assert_array_equal(shut[frame > 0], picture[frame > 0])


def test_eyes_at_the_edge_of_the_square_raise_no_error(face: Floats) -> None:
    for shift in ((-0.45, 0), (0.5, -0.42), (0.8, 0.8), (-0.3, 0.55)):
        points = face + shift
        picture = _portrait(points)
        eyes = Eyes(picture, points)
        for patch in eyes.draw(np.array([0.1, 0.1]), np.array([0.5, 1.0])):
            height, width = patch.pixels.shape[:2]
            assert 0 <= patch.x0 < patch.x0 + width <= SIDE
            assert 0 <= patch.y0 < patch.y0 + height <= SIDE


def test_landmarks_within_a_huge_drawn_eye_draw_no_lid_there(
    shared_dir: Path, face_analyzer: FaceAnalyzer
) -> None:
    picture = read_image(shared_dir / "data/cases/flat_cartoon.png")
    found = face_analyzer.find(picture)
    region = CropRegion.around(found, 1.6)
    x0, y0, x1, _ = region.box_px
    points = (found.points_px[:, :2] - (x0, y0)) / (x1 - x0)
    assert Eyes(region.extract(picture, 512), points).draw(np.array([0.1, 0]), np.ones(2)) == []


@pytest.fixture(scope="module")
def demo(face_analyzer: FaceAnalyzer) -> tuple[Image, Floats]:
    picture = read_image(ASSETS / "demo_portrait.jpg")
    return picture, face_analyzer.find(picture).points_px.astype(float)


def test_the_landmark_network_sees_the_blink(demo: tuple[Image, Floats], face_analyzer: FaceAnalyzer) -> None:
    picture, points_px = demo
    eyes = Eyes(picture, points_px[:, :2] / len(picture))
    read = [
        eye_opening(face_analyzer.find(_drawn(eyes, picture, STILL, closed)).points_px)
        for closed in (0, 0.25, 0.5, 0.75, 1)
    ]
    openings = np.array(read)
    assert (np.diff(openings, axis=0) < 0).all()
    assert openings[0].min() > 0.28
    assert openings[-1].max() < 0.1
    assert np.abs(openings[:, 0] - openings[:, 1]).max() < 0.06


def test_the_landmark_network_sees_the_gaze(demo: tuple[Image, Floats], face_analyzer: FaceAnalyzer) -> None:
    picture, points_px = demo
    eyes = Eyes(picture, points_px[:, :2] / len(picture))
    asked = np.array([-0.08, -0.04, 0.0, 0.04, 0.08])
    read = []
    for right in asked:
        found = face_analyzer.find(_drawn(eyes, picture, np.array([right, 0]), 0.0)).points_px
        pairs = ((468, 33, 133), (473, 263, 362))
        widths = [np.linalg.norm(found[a, :2] - found[b, :2]) for _, a, b in pairs]
        read.append(
            [
                (found[i] - (found[a] + found[b]) / 2)[0] / w
                for (i, a, b), w in zip(pairs, widths, strict=True)
            ]
        )
    for eye in np.array(read).T:
        slope = np.polyfit(asked, eye, 1)[0]
        assert 0.45 < slope < 1.1  # the network itself draws irises to the middle
        assert np.corrcoef(asked, eye)[0, 1] > 0.97
