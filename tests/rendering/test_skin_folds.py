"""Folds of expressions: where they lie, how they grow, what they leave alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.behaviour.expression_shapes import EMOTIONS
from openemo.face import FaceAnalyzer
from openemo.face.landmarks import LEFT_EYE, RIGHT_EYE
from openemo.rendering.skin_folds import SkinFolds
from openemo.video.images import read_image

SIDE = 128
STILL = torch.zeros(1, 2, 16, 16)


def _strengths(emotion: str, strength: float = 1.0) -> NDArray[np.float64]:
    return strength * np.eye(len(EMOTIONS))[[EMOTIONS.index(emotion)]]


@pytest.fixture(scope="module")
def points(face_analyzer: FaceAnalyzer, portrait_path: Path) -> NDArray[np.float32]:
    """Landmarks of the bundled portrait in a square of side 1."""
    image = read_image(portrait_path)
    face = face_analyzer.find_all(image)[0]
    return np.asarray(face.points_px[:, :2] / max(image.shape[:2]), np.float32)


def _folded(folds: SkinFolds, frames_FCHW: Tensor, flow: Tensor, strengths: NDArray[np.float64]) -> Tensor:
    """A copy of the frames with folds."""
    frames = np.ascontiguousarray(frames_FCHW.permute(0, 2, 3, 1).numpy()).copy()
    folds.draw_on(frames, flow, strengths)
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def _made(folds: SkinFolds, emotion: str, strength: float = 1.0) -> Tensor:
    """(SIDE, SIDE) brightness of grey skin of brightness 1."""
    grey = torch.zeros(1, 3, SIDE, SIDE)
    return _folded(folds, grey, STILL, _strengths(emotion, strength))[0].mean(0) + 1


def test_a_smile_darkens_the_fold_beside_the_nose_and_a_frown_the_skin_between_the_brows(
    points: NDArray[np.float32],
) -> None:
    folds = SkinFolds.draw(points, SIDE)

    def darkest(picture: Tensor, index: int, reach: int = 6) -> float:
        x, y = (points[index] * SIDE).astype(int)
        return float(picture[y - reach : y + reach, x - reach : x + reach].min())

    happy, angry = _made(folds, "happy"), _made(folds, "angry")
    for beside_nose in (203, 423):
        assert darkest(happy, beside_nose) < 0.93
        assert darkest(angry, beside_nose) > darkest(happy, beside_nose)
    assert darkest(angry, 9) < 0.95
    assert darkest(happy, 9) > darkest(angry, 9)


def test_folds_grow_with_the_strength_and_eyes_and_background_stay(points: NDArray[np.float32]) -> None:
    folds = SkinFolds.draw(points, SIDE)
    none, half, full = (_made(folds, "happy", strength) for strength in (0.0, 0.5, 1.0))
    assert torch.equal(none, torch.ones(SIDE, SIDE))
    # A factor at strength 1 is the square of that at one half.
    torch.testing.assert_close(half**2, full, atol=1e-5, rtol=0)
    for part in (RIGHT_EYE, LEFT_EYE):
        x, y = (points[list(part)].mean(0) * SIDE).astype(int)
        assert abs(float(full[y, x]) - 1) < 0.02
    for corner in (full[0, 0], full[0, -1], full[-1, 0], full[-1, -1]):
        assert abs(float(corner) - 1) < 1e-3


def test_folds_keep_hue_and_opacity(points: NDArray[np.float32]) -> None:
    folds = SkinFolds.draw(points, SIDE)
    picture = torch.tensor([0.2, -0.2, -0.5, 0.7]).view(1, 4, 1, 1).expand(1, 4, 2 * SIDE, 2 * SIDE)
    both = np.concatenate([_strengths("angry"), _strengths("sad")])
    made = _folded(folds, picture.expand(2, -1, -1, -1), STILL.expand(2, -1, -1, -1), both)
    assert made.shape == (2, 4, 2 * SIDE, 2 * SIDE)
    assert torch.equal(made[:, 3], picture[:, 3].expand(2, -1, -1))
    light = made[:, :3] + 1
    torch.testing.assert_close(
        light[:, 0] / light[:, 1], torch.full_like(light[:, 0], 1.2 / 0.8), atol=1e-5, rtol=1e-4
    )


def test_folds_move_with_the_skin(points: NDArray[np.float32]) -> None:
    folds = SkinFolds.draw(points, SIDE)
    grey, shift = torch.zeros(1, 3, SIDE, SIDE), 8
    right = STILL.clone()
    right[:, 0] = -shift / SIDE
    moved = _folded(folds, grey, right, _strengths("happy"))
    still = _folded(folds, grey, STILL, _strengths("happy"))
    torch.testing.assert_close(moved[..., shift:], still[..., :-shift], atol=1e-4, rtol=0)
    assert not torch.equal(moved, still)


def test_folds_of_a_smile_that_was_taken_out_go_and_come_back_with_it(
    points: NDArray[np.float32],
) -> None:
    plain, smiled = SkinFolds.draw(points, SIDE), SkinFolds.draw(points, SIDE, own_smile=1.0)
    x, y = (points[203] * SIDE).astype(int)
    fold = (slice(y - 6, y + 6), slice(x - 6, x + 6))
    assert float(_made(smiled, "happy", 0.0)[fold].max()) > 1.03  # lighter: the photo's fold is filled
    strength = float(smiled.own_E.max())
    assert 0.5 < strength < 1
    torch.testing.assert_close(_made(smiled, "happy", strength), torch.ones(SIDE, SIDE), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        _made(smiled, "happy", 1.0), _made(plain, "happy", 1.0 - strength), atol=1e-5, rtol=0
    )
