"""Turning a picture so that a face is upright, and pasting frames back turned."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import ImageError
from openemo.face import CropRegion
from openemo.face.turning import PictureTurn

QUARTERS = [90.0, 180.0, 270.0]


def _smooth_image(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    waves = (np.sin(x / 21) * np.cos(y / 17), np.cos(x / 29 + 1), np.sin((x + y) / 33))
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize("angle_deg", QUARTERS)
def test_a_quarter_turn_keeps_every_pixel(angle_deg: float) -> None:
    image = _smooth_image(40, 61)
    turn = PictureTurn(angle_deg, 61, 40)
    turned = turn.apply(image)
    assert turned.shape[1::-1] == turn.turned_size_px
    back = PictureTurn(360 - angle_deg, *turn.turned_size_px).apply(turned)
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 90.0, 133.0, 180.0, 270.0, 301.5])
def test_points_follow_the_picture(angle_deg: float) -> None:
    """A dot of the given picture is where `points_to_turned` says, and the inverse leads back."""
    image = np.zeros((80, 101, 3), np.uint8)
    image[22:25, 70:73] = 255
    turn = PictureTurn(angle_deg, 101, 80)
    there = turn.points_to_turned(np.array([[71.5, 23.5, 9.0]]))
    rows, columns = np.nonzero(turn.apply(image)[..., 0] > 100)
    np.testing.assert_allclose(there[0], [columns.mean() + 0.5, rows.mean() + 0.5, 9], atol=0.3)
    np.testing.assert_allclose(turn.points_to_given(there), [[71.5, 23.5, 9]], atol=1e-9)


@pytest.mark.parametrize("angle_deg", [15.0, 30.0, 45.0, 90.0, 180.0, 200.0, 270.0])
@pytest.mark.parametrize("middle", [(60.0, 70.0), (5.0, 120.0)])
def test_an_unchanged_crop_changes_nothing(angle_deg: float, middle: tuple[float, float]) -> None:
    image = _smooth_image(131, 187)
    turn = PictureTurn(angle_deg, 187, 131)
    region = CropRegion(turn.points_to_turned(np.array(middle)), 48.0)
    result = region.paster(image, turn)(region.extract(turn.apply(image)))
    change = np.abs(result.astype(int) - image).max()
    assert change <= (0 if angle_deg in QUARTERS else 2)


def test_a_frame_is_pasted_turned_and_nowhere_else() -> None:
    image = _smooth_image(131, 187)
    turn = PictureTurn(45.0, 187, 131)
    region = CropRegion(turn.points_to_turned(np.array((90.0, 65.0))), 60.0)
    frame = np.zeros((60, 60, 3), np.uint8)
    frame[:, 30:] = 255
    result = region.paster(image, turn)(frame)
    # The frame's right half is white; clockwise by 45 degrees it lies to the lower right.
    assert result[65 + 10, 90 + 10].min() == 255
    assert result[65 - 10, 90 - 10].max() == 0
    y, x = np.mgrid[0:131, 0:187] + 0.5
    outside = np.abs(x - 90) + np.abs(y - 65) > 60 / 2**0.5 + 2
    np.testing.assert_array_equal(result[outside], image[outside])


def test_a_region_beside_the_picture_changes_nothing() -> None:
    image = _smooth_image(40, 50)
    region = CropRegion(np.array([500.0, 20.0]), 30.0)
    result = region.paster(image, PictureTurn(30.0, 50, 40))(np.zeros((30, 30, 3), np.uint8))
    np.testing.assert_array_equal(result, image)


def test_a_picture_too_long_to_turn_is_refused() -> None:
    with pytest.raises(ImageError, match="too long to be turned"):
        PictureTurn(30.0, 40_000, 3).apply(np.zeros((3, 40_000, 3), np.uint8))
