"""Covered mouths are left alone, open ones closed, smiles taken out; all others stay as they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import Face, FaceAnalyzer
from openemo.face.landmarks import OUTER_LIPS, face_width_px, mouth_opening
from openemo.pipeline.rest_pose import find_rest_pose
from openemo.rendering.neutral_face import read_smile
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


def test_smiles_are_taken_out_and_all_others_stay(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    folders = (shared_dir / "data/portraits/congress", shared_dir / "data/portraits/historic")
    smiles = 0
    for path in [path for folder in folders for path in sorted(folder.iterdir())[5:400:80]]:
        image = read_image(path)
        face = face_analyzer.find(image)
        pose = find_rest_pose(image, face, face_analyzer)
        assert (pose.is_mouth_covered, pose.warnings) == (False, ()), path.name
        before, after = read_smile(face.points_px).strength, read_smile(pose.face.points_px).strength
        assert mouth_opening(pose.face.points_px) <= max(0.02, mouth_opening(face.points_px)), path.name
        if pose.image is image:
            assert (before < 0.55, pose.own_smile, pose.face) == (True, 0, face), path.name
        else:
            smiles += 1
            assert pose.own_smile == pytest.approx(min(before - after, 1), abs=1e-6)
            assert -0.2 < after < max(0.65 * before, before - 0.6), path.name
    assert 3 <= smiles < 10


@pytest.mark.parametrize("name", ["C001053", "W000207"])
def test_upper_face_and_background_stay_when_a_smile_goes(
    shared_dir: Path, face_analyzer: FaceAnalyzer, name: str
) -> None:
    image = read_image(shared_dir / f"data/portraits/congress/{name}.jpg")
    face = face_analyzer.find(image)
    changed = np.abs(find_rest_pose(image, face, face_analyzer).image.astype(int) - image).max(-1)
    assert changed.max() > 30
    eyes = round(float(face.points_px[[33, 263], 1].mean()))
    assert changed[: eyes + 3].mean() < 0.2
    assert changed[:, :20].mean() < 2  # edges of the clothes, by parts of a pixel


def test_a_smile_that_was_taken_out_leaves_nothing_to_take(
    shared_dir: Path, face_analyzer: FaceAnalyzer
) -> None:
    image = read_image(shared_dir / "data/portraits/congress/B001254.jpg")
    pose = find_rest_pose(image, face_analyzer.find(image), face_analyzer)
    assert pose.own_smile > 0.3
    assert find_rest_pose(pose.image, pose.face, face_analyzer).image is pose.image


@pytest.mark.parametrize("name", ["W000413", "Q000023"])
def test_lips_that_are_apart_without_much_of_a_smile_are_shut(
    shared_dir: Path, face_analyzer: FaceAnalyzer, name: str
) -> None:
    image = read_image(shared_dir / f"data/portraits/congress/{name}.jpg")
    face = face_analyzer.find(image)
    assert mouth_opening(face.points_px) > 0.012
    pose = find_rest_pose(image, face, face_analyzer)
    assert mouth_opening(pose.face.points_px) < 0.008
    assert pose.warnings == ()


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
