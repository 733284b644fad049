"""Eyelids that close over the eyeball: nothing else moves, and a closed eye shows no eyeball."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face.landmarks import LEFT_EYE, RIGHT_EYE
from openemo.rendering.eyelids import Eyelids

SIDE = 320
SKIN, EYEBALL = (190, 150, 130), (40, 60, 240)
Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


def _with_taller_eyes(face: Floats) -> Floats:
    """The face with eyes that are a fifth taller."""
    points = face.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        points[list(eye), 1] = 0.42 + 1.2 * (points[list(eye), 1] - 0.42)
    return points


def _turned(points: Floats, degrees: float) -> Floats:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((points[:, :2] - 0.5) @ turn.T + 0.5)


def _portrait(points: Floats) -> Image:
    """Skin with a few freckles, and eyeballs between the lids."""
    picture = np.empty((SIDE, SIDE, 3), np.uint8)
    picture[:] = SKIN
    for x, y in np.random.default_rng(2).integers(0, SIDE, (60, 2)):
        picture[y, x] = np.array(SKIN) - 30
    eye_mask = np.zeros((SIDE, SIDE), np.uint8)
    for eye in (RIGHT_EYE, LEFT_EYE):
        contour = np.round(points[list(eye), :2] * SIDE * 16).astype(np.int32)
        cv2.fillPoly(eye_mask, [contour], (1,), shift=4)
    picture[cv2.erode(eye_mask, np.ones((3, 3))) > 0] = EYEBALL  # fillPoly also draws the outline
    return picture


def _eyeball_pixels(picture: Image) -> int:
    """Number of its pixels."""
    return int((picture[..., 2].astype(int) > picture[..., 0].astype(int) + 40).sum())


@pytest.mark.parametrize("degrees", [0.0, 20.0, -15.0])
def test_eyelids_cover_the_eyeball_until_none_of_it_is_visible(toy_face: Floats, degrees: float) -> None:
    points = _turned(_with_taller_eyes(toy_face), degrees)
    picture = _portrait(points)
    eyelids = Eyelids(picture, points)
    seen = [_eyeball_pixels(eyelids.draw_closed(amount)) for amount in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == _eyeball_pixels(picture) > 250
    assert seen[2] / seen[0] == pytest.approx(0.5, abs=0.12)
    assert seen[4] < 0.02 * seen[0]


def test_only_the_area_around_the_eyes_changes_and_the_visible_eyeball_does_not_move(
    toy_face: Floats,
) -> None:
    points = _with_taller_eyes(toy_face)
    picture = _portrait(points)
    closed = Eyelids(picture, points).draw_closed(1.0)
    changed = np.argwhere((closed != picture).any(-1)) / SIDE
    assert changed[:, 0].min() > 0.35
    assert changed[:, 0].max() < 0.49
    # A pattern on the eyeball stays where it is while the eyelid closes.
    columns = [int(points[i, 0] * SIDE) for i in (159, 386)]
    row = int(0.42 * SIDE) + 3
    for column in columns:
        picture[row, column - 2 : column + 3] = (255, 255, 90)
    half = Eyelids(picture, points).draw_closed(0.5)
    for column in columns:
        assert np.array_equal(half[row, column - 2 : column + 3], picture[row, column - 2 : column + 3])


def test_open_eyes_return_the_portrait_itself_and_closed_eyes_cannot_close_further(toy_face: Floats) -> None:
    picture = _portrait(toy_face)
    assert Eyelids(picture, toy_face).draw_closed(0.0) is picture
    closed = toy_face.copy()
    for eye in (RIGHT_EYE, LEFT_EYE):
        closed[list(eye), 1] = 0.42
    drawn = Eyelids(picture, closed).draw_closed(1.0)
    assert np.abs(drawn.astype(int) - picture).max() <= 1


def test_eyes_at_the_edge_of_the_square_raise_no_error(toy_face: Floats) -> None:
    for shift in (np.array([-0.45, 0, 0]), np.array([0.5, -0.42, 0]), np.array([0.8, 0.8, 0])):
        points = toy_face + shift
        assert Eyelids(_portrait(points), points).draw_closed(1.0).shape == (SIDE, SIDE, 3)
