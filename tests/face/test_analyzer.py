"""The face networks on real portraits: landmarks follow when the image is shifted, scaled or rotated."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import CheckpointError, FaceError, ImageError
from openemo.face import Face, FaceAnalyzer, face_width_px, head_pose, mouth_opening, select_face
from openemo.face.turning import PictureTurn
from openemo.video.images import read_image

Image = NDArray[np.uint8]


def _error(face: Face, points: NDArray[np.floating]) -> float:
    """Mean distance to the expected (478, 2) points over the face's width."""
    distance = np.linalg.norm(face.points_px[:, :2] - points, axis=1).mean()
    return float(distance / np.linalg.norm(points[234] - points[454]))


def _canvas(image: Image, height: int, width: int, x: int, y: int) -> Image:
    canvas = np.full((height, width, 3), 128, np.uint8)
    canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
    return canvas


def _group(images: list[Image], width: int = 230) -> Image:
    return np.concatenate([cv2.resize(image, (width, 280)) for image in images], axis=1).astype(np.uint8)


def test_every_portrait_has_one_face_with_eyes_above_nose_above_mouth(
    analyzer: FaceAnalyzer, portraits: list[Path]
) -> None:
    for path in portraits:
        (face,) = analyzer.find_all(read_image(path))
        points = face.points_px
        assert points.shape == (478, 3)
        assert points.dtype == np.float32
        assert points[[33, 263], 1].mean() < points[4, 1] < points[13, 1] <= points[14, 1] < points[152, 1], (
            path
        )
        assert points[33, 0] < points[4, 0] < points[263, 0], path  # the right eye is on the left
        assert 0 <= mouth_opening(points) < 0.3
        assert abs(head_pose(points).roll_deg) < 15
        np.testing.assert_allclose(face.box_px[:2], points[:, :2].min(axis=0))


def test_landmarks_shift_with_the_picture(analyzer: FaceAnalyzer, portrait: Image) -> None:
    before = analyzer.find(portrait)
    shifted = analyzer.find(_canvas(portrait, 361, 347, 73, 41))
    # 2 % of the face's width: the network's own jitter when its input moves by a part of a pixel.
    assert _error(shifted, before.points_px[:, :2] + (73, 41)) < 0.02


@pytest.mark.parametrize("scale", [0.5, 2.7])
def test_landmarks_scale_with_the_picture(analyzer: FaceAnalyzer, portrait: Image, scale: float) -> None:
    height, width = (round(length * scale) for length in portrait.shape[:2])
    scaled = cv2.resize(
        portrait, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    ratio = np.array([width / portrait.shape[1], height / portrait.shape[0]])
    expected = analyzer.find(portrait).points_px[:, :2] * ratio
    assert _error(analyzer.find(scaled.astype(np.uint8)), expected) < 0.02


@pytest.mark.parametrize("angle_deg", [-20.0, 20.0])
def test_landmarks_rotate_with_the_picture(analyzer: FaceAnalyzer, portrait: Image, angle_deg: float) -> None:
    before = analyzer.find(portrait)
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D(
        (width / 2 - 0.5, height / 2 - 0.5), -angle_deg, 1.0
    )  # OpenCV: anticlockwise
    turned = analyzer.find(
        cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
    )
    points = (before.points_px[:, :2] - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5
    assert _error(turned, points) < 0.03
    roll_deg = head_pose(turned.points_px).roll_deg - head_pose(before.points_px).roll_deg
    assert roll_deg == pytest.approx(angle_deg, abs=2.0)


@pytest.mark.parametrize("angle_deg", [45.0, 90.0, 135.0, 180.0, 210.0, 270.0, 315.0])
def test_a_face_is_found_at_any_roll(analyzer: FaceAnalyzer, portrait: Image, angle_deg: float) -> None:
    before = analyzer.find(portrait)
    turned = PictureTurn(360 - angle_deg, portrait.shape[1], portrait.shape[0])
    (face,) = analyzer.find_all(turned.apply(portrait))
    assert _error(face, turned.points_to_turned(before.points_px)[:, :2]) < 0.03
    roll_deg = head_pose(face.points_px).roll_deg - head_pose(before.points_px).roll_deg
    assert roll_deg % 360 == pytest.approx(angle_deg, abs=2)


def test_faces_of_different_roll_in_one_picture(analyzer: FaceAnalyzer, portrait: Image) -> None:
    side = min(portrait.shape[:2])
    square = portrait[:side, :side]
    both = np.concatenate([square, np.rot90(square, 2), np.rot90(square)], axis=1)
    faces = sorted(analyzer.find_all(both), key=lambda face: face.box_px[0])
    rolls_deg = [head_pose(face.points_px).roll_deg % 360 for face in faces]
    np.testing.assert_allclose(np.cos(np.radians(np.subtract(rolls_deg, [0, 180, 270]))), 1, atol=0.02)


def test_a_grey_image_gives_nearly_the_same_landmarks(analyzer: FaceAnalyzer, portrait: Image) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    assert _error(analyzer.find(grey), analyzer.find(portrait).points_px[:, :2]) < 0.03


def test_a_small_face_in_a_large_picture(analyzer: FaceAnalyzer, portrait: Image) -> None:
    before = analyzer.find(portrait)
    large = _canvas(portrait, 3000, 4000, 3100, 250)  # the face is 1/33 of the picture's width
    assert _error(analyzer.find(large), before.points_px[:, :2] + (3100, 250)) < 0.02


def test_a_face_that_fills_the_picture(analyzer: FaceAnalyzer, portrait: Image) -> None:
    before = analyzer.find(portrait)
    x0, y0, x1, y1 = before.box_px.astype(int)
    close = analyzer.find(np.ascontiguousarray(portrait[y0:y1, x0:x1]))
    assert _error(close, before.points_px[:, :2] - (x0, y0)) < 0.05


def test_several_people_largest_first_and_by_number_from_the_left(
    analyzer: FaceAnalyzer, portraits: list[Path]
) -> None:
    images = [read_image(path) for path in portraits[:4]]
    group = _canvas(_group(images), 900, 1400, 20, 30)
    group[330:880, 900:1380] = cv2.resize(images[1], (480, 550))
    faces = analyzer.find_all(group)
    assert len(faces) == 5
    assert select_face(faces, None, (1400, 900)) is faces[0]
    assert faces[0].box_px[1] > 330
    centres = [select_face(faces, index, (1400, 900)).box_px[[0, 2]].mean() for index in range(5)]
    assert centres == sorted(centres)
    with pytest.raises(FaceError, match=r"got 5; expected 0 to 4"):
        select_face(faces, 5, (1400, 900))
    with pytest.raises(FaceError, match="got -1"):
        select_face(faces, -1, (1400, 900))


def test_track_follows_the_face_and_returns_none_when_it_is_gone(
    analyzer: FaceAnalyzer, portrait: Image
) -> None:
    face = analyzer.find(portrait)
    moved = np.roll(portrait, 5, axis=1)
    tracked = analyzer.track(moved, face)
    assert tracked is not None
    assert _error(tracked, face.points_px[:, :2] + (5, 0)) < 0.03
    assert analyzer.track(np.full_like(portrait, 128), face) is None


def test_blendshapes_are_in_zero_to_one_and_rise_with_the_open_mouth(
    analyzer: FaceAnalyzer, portrait: Image
) -> None:
    face = analyzer.find(portrait)
    values = analyzer.blendshapes(face)
    assert values.shape == (52,)
    assert values.min() >= 0
    assert values.max() <= 1
    opened = face.points_px.copy()
    lower = [14, 87, 178, 88, 95, 317, 402, 318, 324, 17, 84, 181, 91, 146, 314, 405, 321, 375, 152, 148, 377]
    opened[lower, 1] += 0.2 * face_width_px(opened)
    assert analyzer.blendshapes(Face(face.box_px, opened, 1.0))[25] > values[25] + 0.1  # 25 is jawOpen


@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_no_face(analyzer: FaceAnalyzer, kind: str) -> None:
    image = np.full((310, 420, 3), 90, np.uint8)
    if kind == "noise":
        image = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    with pytest.raises(FaceError, match=r"no face found.*420x310"):
        analyzer.find(image)
    with pytest.raises(FaceError, match="no face found"):
        select_face(analyzer.find_all(image), None, (420, 310))


def test_a_face_too_small(analyzer: FaceAnalyzer, portrait: Image) -> None:
    width_px = face_width_px(analyzer.find(portrait).points_px)
    scale = 30 / width_px
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
    with pytest.raises(FaceError, match=r"too small; got \d+ px wide; expected at least 40 px"):
        select_face(analyzer.find_all(small), None, (small.shape[1], small.shape[0]))


def test_a_face_turned_away(analyzer: FaceAnalyzer, portrait: Image) -> None:
    face = analyzer.find(portrait)
    turn = np.radians(60.0 - head_pose(face.points_px).yaw_deg)
    about_y = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    points = (face.points_px @ about_y.T).astype(np.float32)
    with pytest.raises(FaceError, match=r"turned away; got \d+ degrees.*at most 50"):
        select_face([Face(face.box_px, points, 1.0)], None, (225, 275))


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)]
)
def test_an_image_of_the_wrong_form_is_refused(analyzer: FaceAnalyzer, image: Image) -> None:
    with pytest.raises(ImageError, match="wrong form"):
        analyzer.find(image)


def test_missing_and_damaged_networks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        FaceAnalyzer.from_pretrained(tmp_path)
    (tmp_path / "face_detection_full_range.onnx").write_bytes(b"not a network")
    with pytest.raises(CheckpointError, match="damaged"):
        FaceAnalyzer.from_pretrained(tmp_path)
