"""Identity: face embeddings against the portrait, and between neighbouring frames."""

from __future__ import annotations

import numpy as np

from openemo.arrays import Floats
from openemo.errors import FaceError
from openemo.evaluation.metrics.frame_statistics import mean
from openemo.evaluation.observation import Observation

__all__ = ["cosine", "score_identity"]


def cosine(a: Floats, b: Floats) -> Floats:
    """Cosine similarity of vectors along the last axis, -1 to 1."""
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(axis=-1) / lengths)


def score_identity(made: Observation, portrait: Observation) -> dict[str, float]:
    """Likeness of the frames to the portrait, and of neighbouring frames to each other.

    identity_cosine: mean cosine similarity to the portrait. dlib's embeddings are not centred: two people
        measure about 0.85, two pictures of one person 0.95 or more.
    identity_distance: mean Euclidean distance, which the network was trained for. One person is within 0.6,
        two people are mostly beyond.
    f_sim: mean cosine similarity of neighbouring frames (EMO 4.2). It should be near the real clip's: a
        frozen face has 1. The paper's figures are of another network and on another scale.

    Raises:
        FaceError: the portrait's first frame has no face.
    """
    target = portrait.embeddings[0]
    if not np.isfinite(target).all():
        raise FaceError("no face found in the portrait", expected="a portrait to compare the frames with")
    return {
        "identity_cosine": mean(cosine(made.embeddings, target)),
        "identity_distance": mean(np.linalg.norm(made.embeddings - target, axis=-1)),
        "f_sim": mean(cosine(made.embeddings[1:], made.embeddings[:-1])),
    }
