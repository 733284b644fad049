"""Mouth crops: stabilised, upright, at one scale."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face.landmarks import OUTER_LIPS
from openemo.face.mouth_crops import mouth_crops

NUM_FRAMES, HEIGHT, WIDTH = 6, 32, 48


def _picture(size: tuple[int, int] = (150, 170)) -> NDArray[np.uint8]:
    """Smooth, so that resampling twice changes it little."""
    noise = np.random.default_rng(4).uniform(0, 255, (6, 7, 3)).astype(np.float32)
    return np.asarray(np.clip(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC), 0, 255), np.uint8)


def _points() -> NDArray[np.float64]:
    """(478, 2): an upright face whose eyes are 56 px apart, in a picture of 170x150."""
    points = np.full((478, 2), (85.0, 70.0))
    points[33], points[263] = (57, 50), (113, 50)
    points[168], points[2] = (85, 50), (85, 80)
    angle = np.linspace(0, 2 * np.pi, len(OUTER_LIPS), endpoint=False)
    points[list(OUTER_LIPS)] = np.stack([85 + 14 * np.cos(angle), 95 + 5 * np.sin(angle)], 1)
    return points


def _track(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.repeat(points[None], NUM_FRAMES, 0)


def test_an_upright_face_at_the_crops_scale_is_cut_out_as_it_is() -> None:
    picture = _picture()
    crops, seen = mouth_crops([picture] * NUM_FRAMES, _track(_points()), (HEIGHT, WIDTH))
    assert crops.shape == (NUM_FRAMES, HEIGHT, WIDTH)
    assert seen.all()
    # The span of the nose, 30 px * 1.75, is less than that of the eyes: the scale is 1.
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(float)
    x, y = 85 - (WIDTH - 1) / 2, 95 - (HEIGHT - 1) / 2
    assert (x % 1, y % 1) == (0.5, 0.5)
    rows, columns = slice(int(y), int(y) + HEIGHT), slice(int(x), int(x) + WIDTH)
    below, right = slice(int(y) + 1, int(y) + 1 + HEIGHT), slice(int(x) + 1, int(x) + 1 + WIDTH)
    halfway = (grey[rows, columns] + grey[below, columns] + grey[rows, right] + grey[below, right]) / 4
    np.testing.assert_allclose(crops[3], halfway, atol=1.5)  # rounding of the warp to 8 bits


@pytest.mark.parametrize(("scale", "angle_deg"), [(1.0, 20.0), (0.8, -12.0), (2.3, 0.0)])
def test_turning_and_scaling_the_picture_leaves_the_crops(scale: float, angle_deg: float) -> None:
    picture, points = _picture(), _points()
    turn = np.radians(angle_deg)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = np.array([240, 200]) - matrix @ (85, 95)
    turned = cv2.warpAffine(picture, np.column_stack([matrix, shift]), (480, 400), borderValue=(90, 90, 90))
    plain, _ = mouth_crops([picture] * NUM_FRAMES, _track(points), (HEIGHT, WIDTH))
    moved = _track(points @ matrix.T + shift)
    found, _ = mouth_crops([np.asarray(turned, np.uint8)] * NUM_FRAMES, moved, (HEIGHT, WIDTH))
    # The picture was resampled once more.
    assert np.abs(found.astype(float) - plain).mean() < 2


def test_a_larger_crop_is_the_same_with_a_margin() -> None:
    frames, track = [_picture()] * NUM_FRAMES, _track(_points())
    small, _ = mouth_crops(frames, track, (HEIGHT, WIDTH))
    large, _ = mouth_crops(frames, track, (HEIGHT + 16, WIDTH + 16))
    np.testing.assert_array_equal(large[:, 8:-8, 8:-8], small)


def test_an_opening_mouth_moves_in_the_crop_and_not_the_crop() -> None:
    frames, track = [_picture()] * 40, np.repeat(_points()[None], 40, 0)
    still, _ = mouth_crops(frames, track, (HEIGHT, WIDTH))
    jaw = 6 * (np.arange(40) % 8 < 4)  # px, a syllable every 8 frames
    track[:, list(OUTER_LIPS), 1] += jaw[:, None]
    spoken, _ = mouth_crops(frames, track, (HEIGHT, WIDTH))
    middle = spoken[12:28].astype(float)
    # The crop stays at the mean position of the mouth: neighbouring crops are nearly the same.
    assert np.abs(np.diff(middle, axis=0)).mean() < 0.15 * np.abs(middle - still[12:28]).mean()


def test_frames_without_a_face_are_black_and_marked() -> None:
    track = _track(_points())
    track[2] = np.nan
    frames = [_picture()] * NUM_FRAMES
    crops, seen = mouth_crops(frames, track, (HEIGHT, WIDTH))
    assert seen.tolist() == [True, True, False, True, True, True]
    assert not crops[2].any()
    np.testing.assert_array_equal(crops[3], crops[5])
    nothing, unseen = mouth_crops(frames, np.full_like(track, np.nan), (HEIGHT, WIDTH))
    assert not unseen.any()
    assert not nothing.any()
