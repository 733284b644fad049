"""Sampling between pixels keeps a picture sharp."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.rendering.sharp_sampling import SharpPicture
from openemo.video.images import read_image


def positions(side: int, shift: tuple[float, float]) -> NDArray[np.float32]:
    here = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1)
    return np.asarray(here + shift, np.float32)


def detail(image: Image) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[4:-4, 4:-4].var())


def test_whole_shifts_copy_pixels_and_the_border_repeats() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    moved = SharpPicture(picture).at(positions(16, (2, -1)))
    assert np.array_equal(moved[1:, :-2], picture[:-1, 2:])
    assert np.array_equal(moved[0, :-2], picture[0, 2:])


@pytest.mark.parametrize("shift", [(0.5, 0.5), (0.5, 0.0), (0.25, 0.75)])
def test_a_portrait_stays_as_sharp_as_with_lanczos_kernel(
    portrait_path: Path, shift: tuple[float, float]
) -> None:
    picture = np.asarray(cv2.resize(read_image(portrait_path), (256, 256), interpolation=cv2.INTER_AREA))
    at = positions(256, shift)
    lanczos = np.asarray(cv2.remap(picture, at, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE))
    sharp = SharpPicture(picture).at(at)
    assert 0.85 * detail(lanczos) < detail(sharp) < 1.3 * detail(lanczos)
    assert np.abs(sharp.astype(int) - lanczos).mean() < 2


def test_opacity_goes_along() -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:, 4:] = 200
    moved = SharpPicture(picture).at(positions(8, (0.5, 0)))
    assert moved[0, :, 3].tolist() == [0, 0, 0, 100, 200, 200, 200, 200]
    assert np.array_equal(moved[..., 0], moved[..., 1])
