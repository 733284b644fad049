"""A mouth that stands open is shut in the picture itself; all other mouths keep their pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import FaceAnalyzer
from openemo.face.landmarks import INNER_LIPS, mouth_opening
from openemo.rendering.mouth_closing import are_lips_apart, close_mouth, read_mouth_pose
from openemo.video.images import read_image

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def wide_open(shared_dir: Path, face_analyzer: FaceAnalyzer) -> tuple[Image, Floats]:
    image = read_image(shared_dir / "data/cases/mouth_wide_open.jpg")
    return image, face_analyzer.find(image).points_px


def test_lips_meet_and_the_jaw_follows(wide_open: tuple[Image, Floats], face_analyzer: FaceAnalyzer) -> None:
    image, points = wide_open
    assert mouth_opening(points) > 0.15
    assert read_mouth_pose(image, points) == "open"
    closed = face_analyzer.find(close_mouth(image, points)).points_px
    assert mouth_opening(closed) < 0.01
    chin = (points[152] - closed[152])[1] / np.linalg.norm(points[13] - points[14])
    assert 0.5 < chin < 1.1  # 0.8 is asked for
    still = [33, 133, 263, 362, 10]
    np.testing.assert_allclose(closed[still, :2], points[still, :2], atol=4)


def test_only_the_lower_face_and_the_neck_change(wide_open: tuple[Image, Floats]) -> None:
    image, points = wide_open
    changed = (close_mouth(image, points) != image).any(2)
    assert changed.sum() > 5_000
    rows = np.flatnonzero(changed.any(1))
    width = float(np.linalg.norm(points[234] - points[454]))
    assert rows[-1] < points[152, 1] + 0.6 * width
    eyes = round(float(points[[33, 263], 1].mean()))
    moved = np.abs(close_mouth(image, points).astype(int) - image)[: eyes - 5]
    assert moved.mean() < 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_face_that_lies_on_its_side_is_closed_alike(wide_open: tuple[Image, Floats], turns: int) -> None:
    image, points = wide_open
    turned, places = image, points[:, :2]
    for _ in range(turns):
        places = np.stack([places[:, 1], turned.shape[1] - places[:, 0]], 1)
        turned = np.ascontiguousarray(np.rot90(turned))
    back = np.rot90(close_mouth(turned, places), -turns)
    difference = np.abs(back.astype(int) - close_mouth(image, points))
    assert read_mouth_pose(turned, places) == "open"
    assert np.percentile(difference, 99.9) <= 4  # the grids of interpolation are turned


def test_what_fills_the_mouth_is_not_closed(wide_open: tuple[Image, Floats]) -> None:
    image, points = wide_open
    tongue = image.copy()
    cv2.fillPoly(tongue, [np.round(points[list(INNER_LIPS), :2]).astype(np.int32)], (215, 120, 120))
    assert read_mouth_pose(tongue, points) == "full"


def test_shut_mouths_and_smiles_rest(
    shared_dir: Path, face_analyzer: FaceAnalyzer, portrait_path: Path
) -> None:
    smiles = [shared_dir / "data/portraits/congress" / name for name in ("H001056.jpg", "C001067.jpg")]
    for path in (portrait_path, *smiles):
        image = read_image(path)
        assert read_mouth_pose(image, face_analyzer.find(image).points_px) == "rest"


def test_teeth_between_the_lips_are_seen_and_full_shut_lips_are_not(
    shared_dir: Path, face_analyzer: FaceAnalyzer
) -> None:
    for name, apart in (("Q000023", True), ("W000207", False), ("B000589", False)):
        image = read_image(shared_dir / f"data/portraits/congress/{name}.jpg")
        assert are_lips_apart(image, face_analyzer.find(image).points_px) == apart, name


def test_a_broad_smile_closes_without_tearing_the_skin_above(shared_dir: Path) -> None:
    """Its upper lip hangs down to the line between the corners: the outline cannot be scaled from there."""
    with np.load(shared_dir / "data/expressions/landmarks.npz") as people:
        points = people["P005_Happy"][:, :2].astype(np.float64)
    points = (points - points.mean(0)) * 300 / np.ptp(points[:, 0]) + 400
    rows = (np.arange(800)[:, None, None] * np.ones((1, 800, 3)) * 255 / 800).astype(np.uint8)
    moved = np.abs(close_mouth(rows, points).astype(int) - rows)[..., 0] * 800 / 255
    upper_lip = round(points[[37, 267, 0], 1].min()) - 4
    right, left = np.round(points[[61, 291], 0]).astype(int)
    assert moved[round(points[1, 1]) : upper_lip, right + 15 : left - 15].max() < 15
