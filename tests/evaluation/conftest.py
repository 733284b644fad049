"""A portrait, and clips of it whose motion exists only in the landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.evaluation.networks.face_identity import FaceIdentity
from openemo.evaluation.observation import Observation, Observer
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS, face_width_px
from openemo.video.images import read_image

FPS = 25.0
Curve = NDArray[np.float64]
Clip = Callable[..., Observation]


@pytest.fixture(scope="session")
def observer(face_analyzer: FaceAnalyzer) -> Observer:
    return Observer(face_analyzer, FaceIdentity.from_pretrained())


@pytest.fixture(scope="session")
def portrait(observer: Observer, portrait_path: Path) -> Observation:
    """The demo portrait, 320 px wide and 300 high, as a video of one frame."""
    image = cv2.resize(read_image(portrait_path), (320, 320), interpolation=cv2.INTER_AREA)[:300]
    return observer([np.ascontiguousarray(image, np.uint8)], FPS, None)


@pytest.fixture(scope="session")
def clip(portrait: Observation) -> Clip:
    """clip(opening): the portrait with the mouth open by a curve (F,), in face widths; nothing else moves."""

    def make(opening: Curve) -> Observation:
        count = len(opening)
        points = np.repeat(portrait.points_px, count, axis=0)
        lower = [*OUTER_LIPS[1:10], *INNER_LIPS[1:10]]
        points[:, lower, 1] += (opening * face_width_px(portrait.points_px[0])).astype(np.float32)[:, None]
        return replace(
            portrait,
            frames=portrait.frames * count,
            points_px=points,
            blendshapes=np.repeat(portrait.blendshapes, count, axis=0),
            embeddings=np.repeat(portrait.embeddings, count, axis=0),
        )

    return make


@pytest.fixture(scope="session")
def speech() -> Curve:
    """Like a mouth: smooth over a few frames, between 0 and 0.1."""
    noise = np.random.default_rng(2).standard_normal(74)
    return np.clip(0.05 + 0.04 * np.convolve(noise, np.ones(5) / 5, "valid"), 0, None)
