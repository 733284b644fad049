"""Head, brows and expressions, added to training clips.

In a clip of one reader they follow the position in his sentence. What is added here is independent of it, and
wider than any behaviour that is asked for in use.

Shapes: F frames, E emotions, K motion conditions, C x H x W latents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.behaviour import EMOTIONS, Behaviour
from openemo.face.smooth_noise import smooth_noise, unit_gain
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.rendering.expression_flow import expression_weights
from openemo.training.datasets.head_flow import head_flow
from openemo.training.datasets.latent_sequences import LatentSequence

__all__ = ["add_behaviour", "head_speed", "random_behaviour"]

# Most standard deviation of a clip's tracks, in the units of `Behaviour`.
_HEAD_SPREAD: Final = np.array([6.0, 5.0, 3.5, 0.07, 0.05, 0.03])
_BROW_SPREAD: Final = 0.01
_SIGMA_FRAMES: Final = (3.0, 12.0)  # how long a movement lasts, shortest and longest
_EXPRESSION_SHARE: Final = 0.8  # part of the clips with an expression


def random_behaviour(num_frames: int, rng: np.random.Generator, *, is_smooth: bool = True) -> Behaviour:
    """Random tracks; with `is_smooth` False those of unrelated frames.

    Only what the network is told: no gaze, no lids, no torso.
    """
    sigma = float(rng.uniform(*_SIGMA_FRAMES))
    channels = len(_HEAD_SPREAD) + 2
    if is_smooth:
        tracks = smooth_noise(num_frames, channels, sigma, rng, margin=int(3 * sigma)) * unit_gain(sigma)
    else:
        tracks = rng.standard_normal((num_frames, channels))
    spread = rng.uniform(0, 1, len(_HEAD_SPREAD))
    strengths = np.zeros((num_frames, len(EMOTIONS)))
    if rng.random() < _EXPRESSION_SHARE:
        for index in rng.choice(len(EMOTIONS), int(rng.integers(1, 3)), replace=False):
            strengths[:, index] = np.clip(rng.uniform(0, 1.5) + rng.uniform(0, 0.5) * tracks[:, -1], 0, 1.5)
    return replace(
        Behaviour.neutral(num_frames),
        head_F6=tracks[:, :-2] * spread * _HEAD_SPREAD,
        brows_F=tracks[:, -2] * rng.uniform(0, 1) * _BROW_SPREAD,
        expression_FE=strengths,
    )


def add_behaviour(
    autoencoder: MotionAutoencoder, latents_FCHW: Tensor, sequence: LatentSequence, behaviour: Behaviour
) -> tuple[Tensor, Tensor]:
    """Latents of a sequence's frames that behave so in addition; their expression guide (F, G, H, W)."""
    basis = torch.from_numpy(sequence.expressions).float()
    expression = torch.einsum("fe,echw->fchw", torch.from_numpy(expression_weights(behaviour)), basis)
    flow = head_flow(sequence.face, sequence.depth, behaviour.head_F6)
    still = flow.new_zeros(len(flow), 2, autoencoder.flow_size, autoencoder.flow_size)
    guide = expression[:, : autoencoder.face_channels]
    return latents_FCHW + expression + autoencoder.pack(still, flow), guide


def head_speed(behaviour: Behaviour, fps: float) -> NDArray[np.float32]:
    """(F,) speed of the head's rotation, rad/s, as the speed layers read it."""
    if len(behaviour) < 2:
        return np.zeros(len(behaviour), np.float32)
    change = np.gradient(np.radians(behaviour.head_F6[:, :3]), axis=0)
    return np.asarray(fps * np.linalg.norm(change, axis=1), np.float32)
