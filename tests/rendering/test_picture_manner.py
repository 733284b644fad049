"""Drawings, engravings and busts are told from photos; photos are nothing but photos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face import FaceAnalyzer
from openemo.rendering.picture_manner import PHOTO, PictureManner
from openemo.video.images import read_image
from tests.rendering.drawings import SIDE, draw_cartoon, with_irises

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> Image:
    return read_image(portrait_path)


@pytest.fixture(scope="module")
def landmarks(portrait: Image, face_analyzer: FaceAnalyzer) -> Floats:
    return face_analyzer.find_all(portrait)[0].points_px.astype(np.float64)


def test_a_photo_in_colours_grey_or_sepia_is_a_photo(portrait: Image, landmarks: Floats) -> None:
    grey = portrait.mean(-1, keepdims=True)
    for picture in (portrait, grey + np.zeros(3), grey * np.array([1.0, 0.9, 0.72])):
        assert PictureManner.of(picture.astype(np.uint8), landmarks) == PHOTO


@pytest.mark.slow
def test_portraits_of_the_corpus_are_photos(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    paths = sorted((shared_dir / "data/portraits/congress").glob("*.jpg"))[::20]
    for path in paths:
        image = read_image(path)
        faces = face_analyzer.find_all(image)
        assert not faces or PictureManner.of(image, faces[0].points_px) == PHOTO, path


def test_flat_colours_are_found_sharp_smoothed_and_after_jpeg(toy_face: Floats) -> None:
    points = with_irises(toy_face) * SIDE
    sharp = draw_cartoon("lips")
    smooth = cv2.GaussianBlur(sharp, (0, 0), 0.7)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", sharp, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR)
    for picture in (sharp, smooth, jpeg):
        assert PictureManner.of(np.asarray(picture, np.uint8), points).flat == 1


def test_a_posterised_photo_is_flat(portrait: Image, landmarks: Floats) -> None:
    smooth = portrait
    for _ in range(3):
        smooth = cv2.bilateralFilter(smooth, 9, 40, 9)
    assert PictureManner.of((smooth // 64 * 64 + 30).astype(np.uint8), landmarks).flat > 0.5


def test_a_line_screen_is_ink_on_paper(portrait: Image, landmarks: Floats) -> None:
    rows = np.arange(len(portrait))[:, None]
    screen = 127.5 + 127.5 * np.cos(2 * np.pi * rows / 6)
    ink = (portrait.mean(-1) < screen)[..., None]
    picture = np.where(ink, (30, 24, 20), (236, 226, 205)).astype(np.uint8)
    manner = PictureManner.of(picture, landmarks)
    assert manner.lines == 1
    assert manner.stone == 0


@pytest.mark.parametrize(("sky", "stone"), [((90, 140, 220), 1.0), ((120, 114, 105), 1.0)])
def test_a_face_of_one_hue_without_irises_is_stone(
    toy_face: Floats, sky: tuple[int, int, int], stone: float
) -> None:
    points = with_irises(toy_face) * SIDE
    y, x = np.indices((SIDE, SIDE)) / SIDE
    light = 0.45 + 0.5 * np.clip(1 - np.hypot((x - 0.45) / 0.4, (y - 0.4) / 0.5), 0, 1)
    noise = np.random.default_rng(3).normal(0, 3, (SIDE, SIDE, 1))
    picture = light[..., None] * np.array([255, 242, 223]) + noise
    picture[np.hypot((x - 0.5) / 0.27, (y - 0.5) / 0.36) > 1] = sky
    bust = np.clip(picture, 0, 255).astype(np.uint8)
    assert PictureManner.of(bust, points).stone == stone
    for eye in (0.41, 0.59):
        cv2.circle(bust, (round(eye * SIDE), round(0.42 * SIDE)), 6, (40, 37, 34), -1)
    # With irises it may be a person in a grey photo, but no person stands before a blue sky in grey.
    assert PictureManner.of(bust, points).stone == (stone if sky[2] > 2 * sky[0] else 0)


def test_a_face_outside_of_the_picture_or_without_any_contrast_is_no_drawing(toy_face: Floats) -> None:
    assert PictureManner.of(draw_cartoon(), (toy_face + 3) * SIDE) == PHOTO
    assert PictureManner.of(np.full((SIDE, SIDE, 3), 120, np.uint8), toy_face * SIDE) == PHOTO
