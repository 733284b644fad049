"""The mouth's shape, read from latents, and its error as a part of the loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Floats
from openemo.face.landmarks import FACE_OVAL, INNER_LIPS, OUTER_LIPS, face_width_px
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.rendering.landmark_flow import face_flow
from openemo.training.mouth_shape_loss import MOUTH_MEASURES, mouth_shape, mouth_shape_error

LIPS = [*OUTER_LIPS, *INNER_LIPS]
MIDDLE, RIGHT = np.array([0.5, 0.64]), np.array([1, 0])
Move = Callable[[Floats], Floats]


@pytest.fixture(scope="module")
def autoencoder() -> MotionAutoencoder:
    return MotionAutoencoder(sample_size=256, fine_channels=8, middle_channels=8, reference_channels=8)


def _latents(autoencoder: MotionAutoencoder, face: Floats, targets: list[Floats]) -> Tensor:
    """(1, C, F, H, W) of frames with these landmarks."""
    flow = np.stack([face_flow(face, target, autoencoder.flow_size) for target in targets])
    return autoencoder.pack(torch.from_numpy(flow)).transpose(0, 1)[None]


def _with(face: Floats, landmarks: list[int], move: Move) -> Floats:
    moved = face.copy()
    moved[landmarks, :2] = move(face[landmarks, :2])
    return moved


def _points(face: Floats) -> Tensor:
    return torch.from_numpy(face[None, :, :2]).float()


@pytest.mark.parametrize(
    ("name", "landmarks", "move", "expected"),
    [
        # Lips 0.18 of the side apart at the corners, made a tenth wider; lips and chin down by a hundredth.
        ("width", LIPS, lambda p: p + 0.1 * (p - MIDDLE) * RIGHT, 0.018 / 0.0115),
        ("corners", LIPS, lambda p: p + np.array([0, 0.01]), 0.01 / 0.0093),
        ("jaw", [*FACE_OVAL], lambda p: p + np.array([0, 0.01]), 0.01 / 0.0217),
    ],
)
def test_each_measure_reads_its_own_motion(
    autoencoder: MotionAutoencoder,
    toy_face: NDArray[np.float64],
    name: str,
    landmarks: list[int],
    move: Move,
    expected: float,
) -> None:
    latents = _latents(autoencoder, toy_face, [toy_face, _with(toy_face, landmarks, move)])
    shape_FK = mouth_shape(autoencoder, latents, _points(toy_face))[0]
    found = dict(zip(MOUTH_MEASURES, (shape_FK[1] - shape_FK[0]).tolist(), strict=True))
    # The grid of the flow keeps about four fifths of the motion of a corner.
    assert 0.75 < found[name] / (expected / face_width_px(toy_face)) < 1.1
    if name == "width":
        assert abs(found["corners"]) < 0.1 * abs(found["width"])


def test_a_mouth_that_does_not_spread_is_found_by_its_own_error_and_learns_from_it(
    autoencoder: MotionAutoencoder, toy_face: NDArray[np.float64]
) -> None:
    def spread_by(share: float) -> NDArray[np.floating]:
        return _with(toy_face, LIPS, lambda p: p + share * (p - MIDDLE) * RIGHT)

    spread = [spread_by(share) for share in (-0.1, 0, 0.1)]
    clean = _latents(autoencoder, toy_face, spread)
    still = torch.zeros_like(clean).requires_grad_()
    points = _points(toy_face)
    assert mouth_shape_error(autoencoder, clean, clean, points) == 0
    error = mouth_shape_error(autoencoder, still, clean, points)
    with_change = mouth_shape_error(autoencoder, still, clean, points, temporal_change_weight=3.0)
    assert 0.3 < error.item() < with_change.item()
    (gradient,) = torch.autograd.grad(error, still)
    with torch.no_grad():
        learnt = still - 0.2 * error * gradient / gradient.square().sum()
        assert mouth_shape_error(autoencoder, learnt, clean, points) < 0.9 * error
