"""A smile's own teeth are kept, with what the lips hide completed by the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from openemo.arrays import Floats, Image
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import INNER_LIPS
from openemo.pipeline.rest_pose import find_rest_pose
from openemo.rendering.mouth_interior import TEETH_EDGE_ROW, TEETH_SIZE
from openemo.rendering.smile_teeth import complete_teeth, read_own_teeth
from openemo.video.images import read_image

SIDE = 800
MIDDLE = TEETH_SIZE[1] // 2


def _smile(toy_face: Floats, shade: float, *, laughs: bool = False) -> tuple[Image, Floats]:
    """A face with a smile: teeth of this shade with dark lines between them, 10 to 12 px wide."""
    points = toy_face.copy()
    lips = list(INNER_LIPS)
    points[lips, 1] = 0.64 + (points[lips, 1] - 0.64) * 5
    px = points[:, :2] * SIDE
    picture = np.full((SIDE, SIDE, 3), (190, 150, 130), np.uint8)
    left, right = (int(px[lips, 0].min()), int(px[lips, 0].max()))
    middle = (left + right) / 2
    y, x = np.indices((SIDE, SIDE)) + 0.5
    width = right - left
    rise = 0.0035 * (160 / width) * (x - middle) ** 2  # of the arch, as in the model's row
    edge = px[14, 1] - (8 if laughs else 3) - rise
    inside = ((x - middle) / (width / 2)) ** 2 + ((y - 0.64 * SIDE) / (0.02 * SIDE)) ** 2 < 1
    picture[inside] = (60, 25, 25)
    teeth = inside & (np.abs(x - middle) < 0.4 * width) & (y < edge)
    picture[teeth] = np.array([235, 230, 215]) * shade
    picture[teeth & (np.abs((x - middle) % 11) < 1.5)] = np.array([170, 160, 150]) * shade
    if laughs:
        picture[inside & (y > edge + 3)] = np.array([225, 215, 200]) * shade
    return picture, points * SIDE


def _model_row() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    teeth = np.ones((4, *TEETH_SIZE), np.float32)
    teeth[3, TEETH_EDGE_ROW + 1 :] = 0
    return teeth


def test_teeth_of_a_smile_are_kept_with_their_lines_and_their_shade(toy_face: Floats) -> None:
    rows = [read_own_teeth(*_smile(toy_face, shade)) for shade in (1.0, 0.85)]
    for row in rows:
        assert row is not None
        assert row.shape == (4, *TEETH_SIZE)
        above, below = row[3, TEETH_EDGE_ROW - 14, MIDDLE], row[3, TEETH_EDGE_ROW + 5, MIDDLE]
        assert above > 0.9
        assert below < 0.1
        for height in (5, 8):  # lines go down to the edge, and are no holes
            across = row[:3, TEETH_EDGE_ROW - height, MIDDLE - 30 : MIDDLE + 30].mean(0)
            assert 0.5 * across.max() < across.min() < 0.85 * across.max()
    light, dark = (
        np.median(row[:3, TEETH_EDGE_ROW - 8, MIDDLE - 30 : MIDDLE + 30]) for row in rows if row is not None
    )
    assert dark / light == pytest.approx(0.85, abs=0.04)


def test_a_mouth_without_teeth_has_none_of_its_own(toy_face: Floats) -> None:
    picture, points = _smile(toy_face, 1.0)
    dark = np.where((picture == (60, 25, 25)).all(-1, keepdims=True) | (picture > 200), 40, picture)
    assert read_own_teeth(dark.astype(np.uint8), points) is None
    assert read_own_teeth(picture, toy_face * SIDE) is None  # lips that meet


def test_lower_teeth_of_a_laugh_are_no_part_of_the_upper_row(toy_face: Floats) -> None:
    row = read_own_teeth(*_smile(toy_face, 1.0, laughs=True))
    assert row is not None
    columns = row[:, :, MIDDLE - 20 : MIDDLE + 20]
    assert columns[3, TEETH_EDGE_ROW + 5].max() < 0.1
    assert np.median(columns[:3, TEETH_EDGE_ROW - 6]) > 0.85 * np.median(columns[:3, TEETH_EDGE_ROW - 14])


def test_others_complete_a_row_to_the_sides_in_its_colour() -> None:
    own, teeth = 0.7 * _model_row(), _model_row()
    own[3] = teeth[3]
    own[3, :, :60] = own[3, :, -60:] = 0
    own[:3, :, :60] = 0
    done = complete_teeth(own, teeth)
    np.testing.assert_allclose(done[:3, :TEETH_EDGE_ROW], 0.7, atol=0.01)
    np.testing.assert_allclose(done[3], teeth[3])


def test_a_smile_that_is_taken_out_leaves_its_teeth(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    image = read_image(shared_dir / "data/portraits/congress/A000361.jpg")
    pose = find_rest_pose(image, face_analyzer.find_all(image)[0], face_analyzer)
    assert pose.own_smile > 0.3
    assert pose.own_teeth is not None
    assert pose.own_teeth[3, TEETH_EDGE_ROW - 10, MIDDLE - 25 : MIDDLE + 25].min() > 0.9
