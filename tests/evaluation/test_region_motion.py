"""Pictures whose parts move by known distances."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.metrics.region_motion import RegionMotion, score_region_motion
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import face_width_px

Picture = NDArray[np.uint8]
SIDE = 400


@pytest.fixture
def texture() -> Picture:
    """Blurred noise: a flow can follow it everywhere."""
    noise = np.random.default_rng(3).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    stretched = (smooth - smooth.min()) / np.ptp(smooth) * 255
    return np.repeat(stretched[..., None], 3, axis=-1).astype(np.uint8)


@pytest.fixture
def points(portrait: Observation) -> NDArray[np.float32]:
    """A face 100 px wide, with room for the torso below it."""
    points = portrait.points_px[0]
    scaled = points * (100 / face_width_px(points))
    scaled[:, :2] += (SIDE / 2, 150) - scaled[:, :2].mean(axis=0)
    return np.asarray(scaled, np.float32)


def speeds(frames: list[Picture], points: NDArray[np.float32]) -> dict[str, float]:
    motion = RegionMotion(25)
    for frame in frames:
        motion.add(frame, points)
    return motion.speeds()


def shifted(picture: Picture, x: float, y: float) -> Picture:
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return np.asarray(cv2.warpAffine(picture, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT), np.uint8)


def test_speed_is_in_face_widths_per_second(texture: Picture, points: NDArray[np.float32]) -> None:
    """0.6 px right and 0.8 px down a frame: 25 px a second, a quarter of a face."""
    found = speeds([shifted(texture, 0.6 * index, 0.8 * index) for index in range(11)], points)
    for region in ("torso", "hair", "face"):
        assert found[region] == pytest.approx(0.25, rel=0.05)


def test_only_the_torso_moves(texture: Picture, points: NDArray[np.float32]) -> None:
    edge = int(points[152, 1]) + 20
    frames = []
    for index in range(6):
        frame = texture.copy()
        frame[edge:] = shifted(texture, 0.4 * index, 0)[edge:]
        frames.append(frame)
    found = speeds(frames, points)
    assert found["torso"] == pytest.approx(0.1, rel=0.15)
    assert found["hair"] < 0.002
    assert found["face"] < 0.01


def test_a_still_does_not_move(texture: Picture, points: NDArray[np.float32]) -> None:
    assert set(speeds([texture] * 6, points).values()) == {0.0}


def test_what_the_picture_lacks_has_no_speed(texture: Picture, points: NDArray[np.float32]) -> None:
    chin = int(points[152, 1])
    frames = [shifted(texture, index, 0)[: chin + 30] for index in range(6)]
    found = speeds(frames, points)
    assert np.isnan(found["torso"])
    assert found["face"] == pytest.approx(0.25, rel=0.1)
    nowhere = np.full_like(points, np.nan)
    assert all(np.isnan(value) for value in speeds(frames, nowhere).values())


def test_figures_of_a_video(portrait: Observation) -> None:
    assert set(score_region_motion(portrait)) == {"torso_motion", "hair_motion", "face_motion"}
