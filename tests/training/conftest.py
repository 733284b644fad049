"""Training data as `openemo data prepare` writes it: random pictures, landmarks, audio features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from openemo.data.sequences import FrameSequence

SIDE, NUM_FRAMES, SPEECH_DIM = 64, 7, 1024


def _sequence(clip: str, seed: int) -> FrameSequence:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0.2, 0.8, (478, 2)) + rng.normal(0, 0.004, (1 + NUM_FRAMES, 478, 2))
    points[0] = points[1]  # the first frame is the reference itself
    pictures = [
        cv2.resize(rng.integers(0, 256, (5, 5, 3), np.uint8), (SIDE, SIDE)) for _ in range(NUM_FRAMES)
    ]
    pictures.insert(0, pictures[0])
    return FrameSequence(
        tuple(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures),
        (SIDE * points).astype(np.float32),
        rng.uniform(-10, 10, 478).astype(np.float32),
        SIDE,
        clip,
        2,
        rng.uniform(0, 1, NUM_FRAMES).astype(np.float32),
    )


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two driven portraits, a real clip, a quiet portrait; one clip's voice in two variants, and quiet."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "sequences").mkdir()
    (folder / "voices").mkdir()
    kinds = {"driven-a": "c1", "driven-b": "c1", "real-c1": "c1", "quiet-a": ""}
    for seed, (name, clip) in enumerate(kinds.items()):
        _sequence(clip, seed).save(folder / "sequences" / f"{name}.npz")
    rng = np.random.default_rng(9)
    for name, num_tokens in (("c1.0", 22), ("c1.1", 22), ("quiet.0", 140)):
        values = rng.standard_normal((num_tokens, SPEECH_DIM)).astype(np.float16)
        np.save(folder / "voices" / f"{name}.npy", values)
    return folder


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A stage sets the number of threads of the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
