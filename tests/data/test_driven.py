"""Driven portraits: unchanged if the clip is at rest, with the inside of the clip's mouth if that opens."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.driven import drive_frame, warp_picture
from openemo.face.landmarks import INNER_LIPS, RIGHT_EYE
from openemo.rendering.landmark_flow import face_flow

Image = NDArray[np.uint8]
SIDE, CLIP_HEIGHT, CLIP_WIDTH = 96, 70, 110


def _picture(*, coloured: bool) -> Image:
    """Smooth; no two parts are alike."""
    ticks = np.arange(SIDE) / SIDE
    x, y = np.meshgrid(ticks, ticks)
    channels = [np.sin(5 * x + 3 * y), np.sin(4 * y - 6 * x + 2), np.cos(7 * x * y)]
    grey = channels[:1] * 3
    return (128 + 100 * np.stack(channels if coloured else grey, -1)).astype(np.uint8)


def _opened(points: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """The same face with the inner lips `by` px further apart on both sides."""
    lips = list(INNER_LIPS)
    points = points.copy()
    points[lips[1:10], 1] += by
    points[lips[11:], 1] -= by
    return points


def _drive(picture: Image, toy_face: NDArray[np.float64], by: float) -> tuple[Image, Image]:
    """The frame, and the warp alone. The clip is dark red."""
    rest = toy_face * SIDE
    target = _opened(rest, by)
    clip = np.full((CLIP_HEIGHT, CLIP_WIDTH, 3), (90, 30, 20), np.uint8)
    frame = drive_frame(picture, rest[:, :2], target[:, :2], clip, _opened(toy_face * CLIP_HEIGHT, by))
    flow = face_flow(rest / SIDE, target / SIDE, 64)
    return frame, warp_picture(picture, flow)


def test_at_rest_the_portrait_is_unchanged(toy_face: NDArray[np.float64]) -> None:
    picture = _picture(coloured=True)
    frame, _ = _drive(picture, toy_face, 0)
    assert np.array_equal(frame, picture)


def test_an_open_mouth_shows_the_clips_inside_and_nothing_else_changes(toy_face: NDArray[np.float64]) -> None:
    picture = _picture(coloured=True)
    frame, warped = _drive(picture, toy_face, 4.0)
    x, y = (toy_face[list(INNER_LIPS), :2].mean(0) * SIDE).astype(int)
    # Dark red, at most 1.4 times brighter, as the skin is; up to 8 from the warped picture at the soft edge.
    red, green, blue = frame[y, x].astype(float)
    assert red == pytest.approx(1.4 * 90, abs=8)
    assert green == pytest.approx(1.4 * 30, abs=8)
    assert blue == pytest.approx(1.4 * 20, abs=8)
    outside = np.ones((SIDE, SIDE), bool)
    outside[y - 9 : y + 10, x - 12 : x + 13] = False
    assert np.array_equal(frame[outside], warped[outside])


def test_a_closed_eye_has_a_dark_line_of_lashes(toy_face: NDArray[np.float64]) -> None:
    rest = toy_face * SIDE
    x, y = (rest[list(RIGHT_EYE), axis].mean() for axis in (0, 1))
    half_width, half_height = (np.ptp(rest[list(RIGHT_EYE), axis]) / 2 for axis in (0, 1))
    ticks = np.arange(SIDE) + 0.5
    distance = ((ticks[None] - x) / half_width) ** 2 + ((ticks[:, None] - y) / half_height) ** 2
    picture = np.full((SIDE, SIDE, 3), 150, np.uint8)
    picture[distance < 1.6] = 40  # lashes around
    picture[distance < 1.0] = 240  # the white of the eye
    shut = rest.copy()
    shut[list(RIGHT_EYE[:8:-1])] = shut[list(RIGHT_EYE[1:8])]
    clip = np.zeros((CLIP_HEIGHT, CLIP_WIDTH, 3), np.uint8)
    frame = drive_frame(picture, rest[:, :2], shut[:, :2], clip, toy_face * CLIP_HEIGHT)
    eye = frame[int(y - half_height) : int(y + 2 * half_height), int(x)]
    assert eye.max() < 200
    assert eye.min() < 80
    still = drive_frame(picture, rest[:, :2], rest[:, :2], clip, toy_face * CLIP_HEIGHT)
    assert np.array_equal(still, picture)


def test_a_grey_picture_stays_grey(toy_face: NDArray[np.float64]) -> None:
    frame, warped = _drive(_picture(coloured=False), toy_face, 4.0)
    assert not np.array_equal(frame, warped)
    assert np.ptp(frame.astype(int), axis=-1).max() <= 1  # one level of rounding


def test_zero_flow_changes_nothing_and_half_a_pixel_averages() -> None:
    picture = _picture(coloured=True)
    assert np.array_equal(warp_picture(picture, np.zeros((2, 5, 5), np.float32)), picture)
    flow = np.zeros((2, 5, 5), np.float32)
    flow[0] = 0.5 / SIDE
    moved = warp_picture(picture, flow)[:, 1:-2].astype(float)
    mean = (picture[:, 1:-2].astype(float) + picture[:, 2:-1]) / 2
    np.testing.assert_allclose(moved, mean, atol=1.5)  # rounding, and the picture's curvature
