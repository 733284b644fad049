"""The flow of a head that turns: where landmarks go, and what the landmark network reads there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from openemo.arrays import Floats, Image
from openemo.face import CropRegion, FaceAnalyzer
from openemo.face.landmarks import STABLE, head_pose
from openemo.rendering.flow import sample_flow, warp
from openemo.training.datasets.head_flow import HEAD_STRIDE, depth_map, head_flow, turn_points
from openemo.video.images import read_image

HEAD_GRID = 256 // HEAD_STRIDE
AXES = np.eye(6) * [5.0, 4.0, 3.0, 0.05, 0.05, 0.03]


@pytest.fixture
def crop(face_analyzer: FaceAnalyzer, portrait_path: Path) -> Image:
    picture = read_image(portrait_path)
    return CropRegion.around(face_analyzer.find(picture), 1.6).extract(picture, 256)


@pytest.fixture
def face(face_analyzer: FaceAnalyzer, crop: Image) -> Floats:
    """(478, 3) landmarks of the demo's portrait, in units of its crop."""
    return face_analyzer.find(crop).points_px / 256


def test_no_motion_is_no_flow(face: Floats) -> None:
    depth = depth_map(face, HEAD_GRID)
    assert head_flow(face, depth, np.zeros((2, 6))).abs().max() < 1e-6
    np.testing.assert_allclose(turn_points(face, np.zeros((1, 6)))[0], face, atol=1e-12)


@pytest.mark.parametrize("axis", range(6))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_flow_brings_landmarks_back(face: Floats, axis: int, sign: int) -> None:
    """A backward flow, read where a landmark went, points to where it came from."""
    head = sign * AXES[axis][None]
    moved = turn_points(face, head)[0, list(STABLE), :2]
    flow = head_flow(face, depth_map(face, HEAD_GRID), head)
    back = sample_flow(flow, torch.from_numpy(moved).float()[None, :, None])[0, :, 0].numpy()
    away = np.linalg.norm(moved - face[list(STABLE), :2], axis=1)
    left = np.linalg.norm(moved + back - face[list(STABLE), :2], axis=1)
    assert left.mean() < 0.12 * away.mean()


@pytest.mark.parametrize(("axis", "name"), [(0, "yaw_deg"), (1, "pitch_deg"), (2, "roll_deg")])
def test_angles_are_those_of_the_head_pose(face: Floats, axis: int, name: str) -> None:
    turned = turn_points(face, AXES[axis][None])[0]
    change = getattr(head_pose(turned), name) - getattr(head_pose(face), name)
    assert change == pytest.approx(AXES[axis, axis], abs=0.3)


def test_the_landmark_network_sees_the_turn(face_analyzer: FaceAnalyzer, face: Floats, crop: Image) -> None:
    picture = torch.from_numpy(crop).permute(2, 0, 1)[None].float()
    flow = head_flow(face, depth_map(face, HEAD_GRID), np.array([[6.0, 0, 0, 0, 0, 0]]))
    turned = warp(picture, flow)[0].permute(1, 2, 0).round().clamp(0, 255).numpy().astype(np.uint8)
    after = face_analyzer.find(turned)
    assert head_pose(after.points_px).yaw_deg - head_pose(face).yaw_deg == pytest.approx(6, abs=1.5)
