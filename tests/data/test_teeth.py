"""The mean of many smiles: its edge where it belongs, white whatever the skin and the light, no one's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.sequences import Sequence
from openemo.data.teeth import mean_teeth
from openemo.face.geometry import INNER_LIPS, OUTER_LIPS
from openemo.models.inside import TEETH_EDGE, TEETH_SIZE

SIDE, PEOPLE = 256, 30
Floats = NDArray[np.float64]


def _person(face: Floats, seed: int, *, smiles: bool = True) -> Sequence:
    """A smile with white teeth down to a line a little above the lower lip, red below, on any skin."""
    rng = np.random.default_rng(seed)
    points = face.copy()
    points[1, :2] = 0.5, 0.55  # the tip of the nose: looks straight
    middle = np.array([0.5, 0.64])
    lips = list(INNER_LIPS)
    for part in (lips, list(OUTER_LIPS)):
        points[part, 0] = 0.5 + 1.5 * (points[part, 0] - 0.5)
    height = rng.uniform(0.018, 0.024) if smiles else 0.001
    points[lips, 1] = middle[1] + (points[lips, 1] - middle[1]) * height / 0.004
    skin = np.array([rng.uniform(120, 220), 0, 0])
    skin[1:] = skin[0] * np.array([0.75, 0.6]) - rng.uniform(0, 15)
    picture = np.ones((SIDE, SIDE, 3)) * skin
    contour = np.round(points[lips, :2] * SIDE).astype(np.int32)
    cv2.fillPoly(picture, [contour], (skin[0] * 0.8, skin[1] * 0.3, skin[2] * 0.3))
    teeth = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(teeth, [contour], (1,))
    teeth[round((middle[1] + 0.7 * height) * SIDE) :] = 0
    picture[teeth > 0] = 0.95 * skin.mean()
    jpeg = cv2.imencode(".jpg", picture.clip(0, 255).astype(np.uint8)[..., ::-1])[1].tobytes()
    track = np.repeat(points[None, :, :2] * SIDE, 2, 0).astype(np.float32)
    return Sequence((jpeg, jpeg), track, SIDE, "", 0, np.zeros(1, np.float32))


def test_smiles_of_many_colours_have_white_teeth_with_one_edge(toy_face: Floats) -> None:
    teeth = mean_teeth(_person(toy_face, seed) for seed in range(PEOPLE))
    assert teeth is not None
    assert teeth.shape == (4, *TEETH_SIZE)
    np.testing.assert_allclose(teeth, teeth[..., ::-1], atol=1e-6)
    middle = TEETH_SIZE[1] // 2
    opacity = teeth[3, :, middle]
    assert opacity[: TEETH_EDGE - 2].min() > 0.8  # drawn on upwards, however far the lip rises
    assert opacity[TEETH_EDGE + 3 :].max() < 0.1
    red, green, blue = teeth[:3, TEETH_EDGE - 5, middle]
    assert red == pytest.approx(green, rel=0.35)
    assert 0.7 < green < 1.4
    assert blue > 0.7


def test_too_few_smiles_are_no_mean(toy_face: Floats) -> None:
    assert mean_teeth(_person(toy_face, seed) for seed in range(10)) is None
    assert mean_teeth(_person(toy_face, seed, smiles=False) for seed in range(PEOPLE)) is None
