"""Covered mouths are noticed and left alone; open ones are closed; all others stay as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import Face, FaceAnalyzer
from openemo.face.landmarks import OUTER_LIPS, face_width_px, mouth_opening
from openemo.pipeline.rest_pose import find_rest_pose
from openemo.video.images import read_image

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> Image:
    return read_image(portrait_path)


def _cover(image: Image, face: Face, kind: str) -> Image:
    """The picture with something before the mouth."""
    drawn, width = image.copy(), face_width_px(face.points_px)
    x, y = face.points_px[list(OUTER_LIPS), :2].mean(0)
    if kind == "mask":
        shape = np.array([[-0.48, -0.3], [0.48, -0.3], [0.4, 0.2], [0, 0.45], [-0.4, 0.2]]) * width + (x, y)
        cv2.fillPoly(drawn, [np.round(shape).astype(np.int32)], (240, 240, 235))
    elif kind == "scarf":
        rows = np.arange(len(image) - round(y - 0.2 * width))[:, None, None]
        drawn[round(y - 0.2 * width) :] = np.where(rows // 20 % 2, (140, 20, 30), (230, 220, 210))
    elif kind == "microphone":
        cv2.line(drawn, (round(x), round(y)), (round(x), len(image)), (40, 40, 45), round(0.15 * width))
        cv2.circle(drawn, (round(x), round(y)), round(0.25 * width), (30, 30, 32), -1)
    else:  # a hand: four fingers of the colour of the cheek
        skin = image[tuple(np.round(face.points_px[50, 1::-1]).astype(int))].tolist()
        for finger in range(4):
            row = round(y + (finger - 1.5) * 0.15 * width)
            ends = (round(x - 0.6 * width), row + 20), (round(x + 0.3 * width), row)
            cv2.line(drawn, *ends, [int(0.6 * c) for c in skin], round(0.16 * width))
            cv2.line(drawn, *ends, skin, round(0.13 * width))
    return drawn


@pytest.mark.parametrize("kind", ["mask", "scarf", "microphone", "hand"])
def test_a_cover_is_noticed_and_the_picture_left_alone(
    portrait: Image, face_analyzer: FaceAnalyzer, kind: str
) -> None:
    covered = _cover(portrait, face_analyzer.find(portrait), kind)
    pose = find_rest_pose(covered, face_analyzer.find(covered), face_analyzer)
    assert pose.is_mouth_covered
    assert pose.image is covered
    assert "something covers the mouth" in pose.warnings[0]


def test_a_surgical_mask_is_noticed(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    image = read_image(shared_dir / "data/cases/surgical_mask.jpg")
    assert find_rest_pose(image, face_analyzer.find(image), face_analyzer).is_mouth_covered


def test_the_mouth_of_the_demo_stays(portrait: Image, face_analyzer: FaceAnalyzer) -> None:
    face = face_analyzer.find(portrait)
    pose = find_rest_pose(portrait, face, face_analyzer)
    assert pose.image is portrait
    assert pose.face is face
    assert pose.warnings == ()


def test_mouths_in_beards_smiles_prints_and_photographs_stay(
    shared_dir: Path, face_analyzer: FaceAnalyzer
) -> None:
    folders = (shared_dir / "data/portraits/congress", shared_dir / "data/portraits/historic")
    for path in [path for folder in folders for path in sorted(folder.iterdir())[5:400:40]]:
        image = read_image(path)
        pose = find_rest_pose(image, face_analyzer.find(image), face_analyzer)
        assert (pose.is_mouth_covered, pose.warnings) == (False, ()), path.name
        assert pose.image is image


def test_an_open_mouth_is_closed_and_the_user_told(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    image = read_image(shared_dir / "data/cases/mouth_wide_open.jpg")
    pose = find_rest_pose(image, face_analyzer.find(image), face_analyzer)
    assert mouth_opening(pose.face.points_px) < 0.01
    assert pose.image.shape == image.shape
    assert "it was closed first" in pose.warnings[0]


def test_a_tongue_that_is_out_gives_a_warning(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    image = read_image(shared_dir / "data/cases/mouth_wide_open.jpg")
    points = face_analyzer.find(image).points_px
    (x, y), width = points[14, :2], face_width_px(points)
    axes = (round(0.12 * width), round(0.16 * width))
    cv2.ellipse(image, (round(float(x)), round(float(y))), axes, 0, 0, 360, (215, 120, 120), -1)
    pose = find_rest_pose(image, face_analyzer.find(image), face_analyzer)
    assert pose.image is image
    assert "could not be closed" in pose.warnings[0]
