"""Measures of the picture on pictures with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import FaceError
from openemo.evaluation.alignment import face_chip, face_pair
from openemo.evaluation.metrics.picture import (
    background_mask,
    drift,
    flicker,
    psnr,
    score_picture,
    sharpness,
    ssim,
)
from openemo.evaluation.observation import Observation

Image = NDArray[np.uint8]
Clip = Callable[[NDArray[np.float64]], Observation]


def _noise(seed: int, size: tuple[int, ...] = (41, 37, 3)) -> Image:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def test_psnr_of_a_known_error_and_of_equal_pictures() -> None:
    image = np.full((5, 7, 3), 100, np.uint8)
    assert psnr(image + np.uint8(5), image) == pytest.approx(20 * np.log10(255 / 5))
    assert psnr(image, image) == pytest.approx(58.92, abs=0.01)


def test_ssim_of_equal_flat_and_unrelated_pictures() -> None:
    assert ssim(_noise(1), _noise(1)) == pytest.approx(1)
    flat, brighter = (np.full((30, 31, 3), level, np.uint8) for level in (100, 150))
    # Without structure only the means count (Wang et al. 2004, Eq. 6).
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert ssim(flat, brighter) == pytest.approx(expected, rel=1e-4)
    assert abs(ssim(_noise(1), _noise(2))) < 0.1


def test_ssim_agrees_with_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    import torch

    rng = np.random.default_rng(5)
    smooth = cv2.GaussianBlur(_noise(3), (0, 0), 3)
    grey = np.repeat(smooth[..., :1], 3, axis=2)
    noisy = np.clip(grey + rng.normal(0, 8, grey.shape[:2])[..., None], 0, 255).astype(np.uint8)
    a, b = (torch.from_numpy(image[..., 0]).double()[None, None] for image in (noisy, grey))
    _, image = functional.structural_similarity_index_measure(a, b, data_range=255.0, return_full_image=True)
    # torchmetrics also counts windows that leave the picture; Wang et al. do not.
    theirs = float(image[..., 5:-5, 5:-5].mean())
    assert ssim(noisy, grey) == pytest.approx(theirs, abs=1e-6)  # grey levels are float32


def test_blur_lowers_sharpness_and_nothing_else_does(portrait: Observation) -> None:
    image, points = portrait.frames[0], portrait.points_px[0]
    sharp = sharpness(face_chip(image, points))
    soft = sharpness(face_chip(np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8), points))
    assert soft < 0.4 * sharp
    darker = sharpness(face_chip((image * 0.97).astype(np.uint8), points))
    assert darker == pytest.approx(0.97**2 * sharp, rel=0.05)  # rounding adds a little


def test_pair_aligns_a_moved_and_enlarged_face(portrait: Observation) -> None:
    image, points = portrait.frames[0], portrait.points_px[0]
    matrix = np.array([[1.7, -0.2, 12.0], [0.2, 1.7, -25.0]])
    # warpAffine counts from pixel centres, landmarks from the picture's corner.
    halves = matrix[:, 2] + 0.5 - matrix[:, :2] @ (0.5, 0.5)
    moved = np.asarray(cv2.warpAffine(image, matrix, (620, 610), flags=cv2.INTER_CUBIC), np.uint8)
    moved_points = points.copy()
    moved_points[:, :2] = points[:, :2] @ matrix[:, :2].T + halves
    ours, theirs = face_pair(moved, moved_points, image, points)
    assert ours.shape == theirs.shape == (160, 160, 3)
    assert psnr(ours, theirs) > 32  # two more samplings; a pixel of shift would be 26
    assert psnr(np.roll(ours, 1, axis=1), theirs) < psnr(ours, theirs) - 4


def test_flicker_is_the_mean_change_of_the_background(portrait: Observation) -> None:
    frame = portrait.frames[0] // 2 + 40
    frames = [frame + np.uint8(3 * (index % 2)) for index in range(6)]
    mask = background_mask(portrait)
    assert 0.05 < mask.mean() < 0.9
    x, y = portrait.points_px[0, 1, :2].astype(int)  # the tip of the nose
    assert not mask[y, x]
    assert mask[2, 2]
    assert flicker(frames, mask) == pytest.approx(3, rel=1e-5)
    assert flicker([frame] * 3, mask) == 0
    assert np.isnan(flicker(frames, np.zeros_like(mask)))
    assert np.isnan(flicker(frames[:1], mask))


def test_motion_in_the_face_is_no_flicker(portrait: Observation) -> None:
    frames = [portrait.frames[0].copy() for _ in range(4)]
    x, y = portrait.points_px[0, 1, :2].astype(int)
    for index, frame in enumerate(frames):
        frame[y - 20 : y + 20, x - 20 : x + 20] = 60 * index
    assert flicker(frames, background_mask(portrait)) == 0


def test_drift_compares_the_first_and_the_last_second(portrait: Observation) -> None:
    chip = face_chip(portrait.frames[0], portrait.points_px[0])
    grey = np.full_like(chip, 119)  # L* = 50
    lighter = np.full_like(chip, 145)  # L* = 60
    colour, _ = drift([grey] * 5 + [chip] * 20 + [lighter] * 5, fps=5)
    assert colour == pytest.approx(10, abs=0.3)
    soft = np.asarray(cv2.GaussianBlur(chip, (0, 0), 2), np.uint8)
    _, sharp = drift([chip] * 5 + [None] * 3 + [soft] * 5, fps=5)
    assert sharp == pytest.approx(sharpness(soft) / sharpness(chip))
    assert np.isnan(drift([chip] * 9, fps=5)).all()
    assert np.isnan(drift([None] * 20, fps=5)).all()


def test_figures_of_a_clip_beside_itself(clip: Clip, portrait: Observation) -> None:
    real = clip(np.zeros(7))
    figures = score_picture(real, real, portrait)
    assert figures["psnr_db"] == pytest.approx(58.92, abs=0.01)
    assert figures["ssim"] == pytest.approx(1)
    assert figures["sharpness"] == pytest.approx(1)
    assert figures["flicker_grey"] == 0
    assert figures["lost_frames"] == 0
    assert score_picture(clip(np.zeros(4)), real, portrait)["lost_frames"] == 3


def test_portrait_without_a_face_is_refused(clip: Clip, portrait: Observation) -> None:
    nobody = replace(portrait, points_px=np.full_like(portrait.points_px, np.nan))
    with pytest.raises(FaceError, match="no face found in the portrait"):
        score_picture(clip(np.zeros(2)), clip(np.zeros(2)), nobody)
