"""What is added to training clips: nothing at rest, linear expressions, and the head in its own channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from openemo.behaviour import EMOTIONS, Behaviour
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.training.datasets.behaviour_augmentation import add_behaviour, head_speed, random_behaviour
from openemo.training.datasets.head_flow import depth_map, head_flow
from openemo.training.datasets.latent_coders import motion_coder
from openemo.training.datasets.latent_sequences import LatentSequence

FRAMES, HEAD_GRID = 3, 8
HEAD = np.array([[5.0, -3, 2, 0.05, -0.02, 0.02], [-4.0, 2, -2, 0, 0.04, -0.01], [0.0, 0, 3, -0.05, 0, 0]])


@pytest.fixture(scope="module")
def autoencoder() -> MotionAutoencoder:
    return MotionAutoencoder(
        sample_size=64,
        fine_channels=8,
        middle_channels=8,
        reference_channels=8,
        decoder_channels=(8, 8, 8),
        decoder_blocks=1,
        head_flow_scale=0.03,
    )


@pytest.fixture
def sequence(autoencoder: MotionAutoencoder, toy_face: NDArray[np.float64]) -> LatentSequence:
    """A clip of a toy face; `add_behaviour` reads the face alone."""
    face = toy_face.astype(np.float32)
    return LatentSequence(
        np.zeros((FRAMES, 40, 4, 4), np.float16),
        np.zeros((8, 4, 4), np.float16),
        np.zeros((FRAMES, 4), np.float32),
        face,
        motion_coder(autoencoder).expressions(face).half().numpy(),
        depth_map(face, HEAD_GRID),
        "",
        0,
        np.zeros(FRAMES, np.float32),
    )


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(FRAMES, 40, 4, 4, generator=torch.Generator().manual_seed(2))


def expressive(gain: float) -> Behaviour:
    """Brows and two emotions, other ones in each frame."""
    strengths = np.zeros((FRAMES, len(EMOTIONS)))
    strengths[:, 0], strengths[:, 3] = (0.1, 0.4, 0.2), (0.3, 0.0, 0.2)
    still = Behaviour.neutral(FRAMES)
    return replace(still, brows_F=gain * np.array([0.004, -0.002, 0.01]), expression_FE=gain * strengths)


def test_no_behaviour_adds_nothing(
    autoencoder: MotionAutoencoder, sequence: LatentSequence, latents: torch.Tensor
) -> None:
    added, guide = add_behaviour(autoencoder, latents, sequence, Behaviour.neutral(FRAMES))
    torch.testing.assert_close(added, latents, atol=1e-5, rtol=0)
    assert not guide.any()


def test_brows_and_expressions_add_up_and_leave_the_head_still(
    autoencoder: MotionAutoencoder, sequence: LatentSequence, latents: torch.Tensor
) -> None:
    one, two = (
        add_behaviour(autoencoder, latents, sequence, expressive(gain))[0] - latents for gain in (1.0, 2.0)
    )
    assert one[:, :32].abs().amax((1, 2, 3)).min() > 0.05
    torch.testing.assert_close(two, 2 * one, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one[:, 32:], torch.zeros_like(one[:, 32:]), atol=1e-5, rtol=0)


def test_the_flow_of_an_expression_is_that_of_its_strength(
    autoencoder: MotionAutoencoder, sequence: LatentSequence
) -> None:
    """A strength of 0.5 is one unit: the stored latents themselves."""
    strengths = np.zeros((FRAMES, len(EMOTIONS)))
    strengths[:, 2] = 0.5
    behaviour = replace(Behaviour.neutral(FRAMES), expression_FE=strengths)
    added, guide = add_behaviour(autoencoder, torch.zeros(FRAMES, 40, 4, 4), sequence, behaviour)
    stored = torch.from_numpy(sequence.expressions[1 + 2]).float()  # brows are the first
    torch.testing.assert_close(added, stored.expand(FRAMES, -1, -1, -1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(guide, added[:, :32])  # what the network is told is what it shall make


def test_the_head_is_in_its_own_channels(
    autoencoder: MotionAutoencoder, sequence: LatentSequence, latents: torch.Tensor
) -> None:
    behaviour = replace(Behaviour.neutral(FRAMES), head_F6=HEAD)
    added = add_behaviour(autoencoder, latents, sequence, behaviour)[0] - latents
    torch.testing.assert_close(added[:, :32], torch.zeros_like(added[:, :32]), atol=1e-6, rtol=0)
    decoded = autoencoder.head_flow(added.transpose(0, 1)[None])
    assert decoded is not None
    wanted = head_flow(sequence.face, sequence.depth, HEAD)
    assert wanted.abs().amax((1, 2, 3)).min() > 0.01
    torch.testing.assert_close(decoded, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("is_smooth", [True, False])
def test_random_behaviour_has_what_the_network_is_told_and_no_more(is_smooth: bool) -> None:
    drawn = [random_behaviour(24, np.random.default_rng(seed), is_smooth=is_smooth) for seed in range(20)]
    for behaviour in drawn:
        assert len(behaviour) == 24
        for name in ("torso_F2", "gaze_F2", "eyes_closed_F2"):
            assert not getattr(behaviour, name).any()
        # In use they are told to the network with a gain, `expression_motion`.
        assert ((behaviour.expression_FE >= 0) & (behaviour.expression_FE <= 1.5)).all()
    heads = np.stack([behaviour.head_F6 for behaviour in drawn])
    assert (heads.std((0, 1)) > (1.5, 1.2, 0.8, 0.015, 0.012, 0.007)).all()
    share = np.mean([behaviour.expression_FE.any() for behaviour in drawn])
    assert 0.3 < share < 1
    # A frame tells of the next one only in a clip of consecutive frames.
    steps = np.diff(heads, axis=1).std((0, 1)) / heads.std((0, 1))
    assert (steps < 0.5).all() if is_smooth else (steps > 0.9).all()


def test_speed_is_that_of_the_rotation() -> None:
    yaw = np.zeros((25, 6))
    yaw[:, 0] = np.arange(25) * 0.8  # 20 degrees per second
    behaviour = replace(Behaviour.neutral(25), head_F6=yaw)
    assert head_speed(behaviour, 25.0) == pytest.approx(np.radians(20))
    moved = replace(Behaviour.neutral(25), head_F6=yaw[:, [1, 1, 1, 0, 1, 1]])
    assert not head_speed(moved, 25.0).any()
    assert head_speed(behaviour.frames(0, 1), 25.0) == pytest.approx(0)
