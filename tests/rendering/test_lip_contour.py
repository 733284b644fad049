"""The edges of the lips in a photo, found although landmarks are a few pixels off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS
from openemo.rendering.lip_contour import find_lip_contour, find_lip_edges

SIDE = 320
MIDDLE, WIDTH = 160, 100
SKIN, LIPS, TEETH = (205, 160, 135), (170, 80, 80), (235, 230, 215)
Floats = NDArray[np.float64]
Image = NDArray[np.uint8]


def _landmarks(gap_px: float, at_px: float) -> Floats:
    """Lips of 40 px in total height, their inner edges `gap_px` apart around the row `at_px`."""
    points = np.zeros((478, 3))
    for part, height in ((INNER_LIPS, gap_px / 2), (OUTER_LIPS, 20 + gap_px / 2)):
        angle = np.linspace(0, 2 * np.pi, len(part), endpoint=False)
        points[list(part), 0] = MIDDLE - WIDTH / 2 * np.cos(angle)
        points[list(part), 1] = at_px + height * np.sin(angle)
    return points


def _photo(line_px: float, teeth_px: float = 0, *, grey: bool = False) -> Image:
    """Lips that meet in a dark line at the row `line_px`, or have teeth of this height between them."""
    picture = np.full((SIDE, SIDE, 3), SKIN, np.uint8)
    cv2.ellipse(picture, (MIDDLE, 160), (WIDTH // 2 + 6, 24 + round(teeth_px / 2)), 0, 0, 360, LIPS, -1)
    if teeth_px:
        axes = (WIDTH // 2, round(teeth_px / 2))
        cv2.ellipse(picture, (MIDDLE, round(line_px)), axes, 0, 0, 360, TEETH, -1)
    else:
        ends = ((MIDDLE - WIDTH // 2, round(line_px)), (MIDDLE + WIDTH // 2, round(line_px)))
        cv2.line(picture, *ends, (70, 30, 30), 2)
    noise = np.random.default_rng(1).integers(-4, 5, (SIDE, SIDE, 1))
    picture = np.clip(cv2.GaussianBlur(picture, (0, 0), 1.0).astype(int) + noise, 0, 255).astype(np.uint8)
    return np.repeat(picture[..., 1:2], 3, -1) if grey else picture


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("gap_px", [1.0, 14.0])
def test_closed_lips_meet_in_their_dark_line_although_landmarks_mark_a_gap(gap_px: float, grey: bool) -> None:
    lips = find_lip_contour(_photo(164, grey=grey), _landmarks(gap_px, 160))
    np.testing.assert_array_equal(lips.gap_top, lips.gap_bottom)
    rows = lips.line.to_pixels(lips.s, lips.gap_top)[8:-8, 1]
    np.testing.assert_allclose(rows, 164, atol=1.5)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("off_px", [0.0, 4.0])
def test_the_gap_is_where_the_colour_is_not_that_of_lips(off_px: float, grey: bool) -> None:
    lips = find_lip_contour(_photo(160, teeth_px=20, grey=grey), _landmarks(16, 160 + off_px))
    upper, lower = (
        np.median(lips.line.to_pixels(lips.s, curve)[24:40, 1]) for curve in (lips.gap_top, lips.gap_bottom)
    )
    assert upper == pytest.approx(150, abs=2.5)
    assert lower == pytest.approx(170, abs=3.5)  # minus the lip's shaded edge


@pytest.mark.parametrize("lower_by_px", [0.0, 3.0])
def test_the_edges_of_the_lips_are_found_column_by_column(lower_by_px: float) -> None:
    """The landmarks' opening is 16 px high; the photo's is 20 px high, and further down on the right."""
    picture = _photo(160, teeth_px=20)
    shear = np.array([[1, 0, 0], [lower_by_px / 25, 1, -MIDDLE * lower_by_px / 25]])
    sheared = cv2.warpAffine(picture, shear, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    s, top, bottom = find_lip_edges(sheared, _landmarks(16, 160))
    for place, expected in ((0.25, -lower_by_px), (0.5, 0.0), (0.75, lower_by_px)):
        height = 2 * np.sqrt(place * (1 - place))  # of the ellipses, over that in the middle
        assert np.interp(place, s, top) == pytest.approx(expected - 2 * height, abs=2)
        assert np.interp(place, s, bottom) == pytest.approx(expected + 2 * height, abs=2)
    assert abs(top[[0, -1]]).max() < 1  # corners stay


def test_the_flow_is_read_at_the_landmarks_for_the_edges_of_the_lips() -> None:
    lips = find_lip_contour(_photo(165), _landmarks(8, 160))
    x = np.full(3, float(MIDDLE))
    above, below, far = lips.landmark_positions(np.stack([x, [163.5, 166.5, 60.0]], -1))
    assert (above[1], below[1]) == (pytest.approx(156, abs=1.5), pytest.approx(164, abs=1.5))
    assert far[1] == pytest.approx(60)
    corners = np.array([[MIDDLE - WIDTH / 2, 160.0], [MIDDLE + WIDTH / 2 + 9, 160.0]])
    np.testing.assert_allclose(lips.landmark_positions(corners), corners)


def test_lips_hold_together_at_their_corners_and_are_free_in_the_middle() -> None:
    """The line between the lips is that of the landmarks, as in the flow."""
    lips = find_lip_contour(_photo(165), _landmarks(8, 160))
    left = MIDDLE - WIDTH / 2
    x = left + WIDTH * np.array([0.0, 0.0, 0.1, 0.5, -0.4, 0.0])
    y = np.array([160.0, 160 + 0.2 * WIDTH, 160, 160, 160, 160 + 0.6 * WIDTH])
    positions, hold = lips.mouth_line_positions(np.stack([x, y], -1))
    np.testing.assert_allclose(positions, np.stack([x, np.full(6, 160.0)], -1), atol=1.0)
    assert hold[:2] == pytest.approx(1)
    assert 0.05 < hold[2] < 0.5
    assert hold[3:] == pytest.approx(0)


def test_in_an_image_of_one_colour_the_landmarks_decide() -> None:
    points = _landmarks(10, 160)
    lips = find_lip_contour(np.full((SIDE, SIDE, 3), 128, np.uint8), points)
    assert np.isfinite(lips.contour_px).all()
    np.testing.assert_allclose(lips.line.to_pixels(lips.s, lips.gap_top)[:, 1], 160, atol=2)
