"""The mean of many smiles: aligned teeth with thin lines between, white on any skin, of no single person."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.data.teeth import mean_teeth
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS
from openemo.rendering.mouth_interior import (
    SMILE_WIDTH_CELLS,
    TEETH_ARCH,
    TEETH_BOUNDARIES,
    TEETH_EDGE_ROW,
    TEETH_SIZE,
)
from tests.conftest import draw_toy_face

SIDE, PEOPLE = 360, 30
MIDDLE = (TEETH_SIZE[1] - 1) / 2
Floats = NDArray[np.float64]
Portrait = tuple[NDArray[np.uint8], Floats]


def _person(face: Floats, seed: int, *, smiles: bool = True) -> Portrait:
    """White teeth of random widths with a dark gap below, on random skin."""
    rng = np.random.default_rng(seed)
    points = face * SIDE
    points[1, :2] = 0.5 * SIDE, 0.55 * SIDE  # the tip of the nose: looks straight
    middle, width = np.array([0.5, 0.64]) * SIDE, 0.21 * SIDE
    lips = list(INNER_LIPS)
    for part in (lips, list(OUTER_LIPS)):
        points[part, 0] = middle[0] + 1.5 * (points[part, 0] - middle[0])
    height = width * (rng.uniform(0.11, 0.13) if smiles else 0.01)
    points[lips, 1] = middle[1] + (points[lips, 1] - middle[1]) * height / (0.004 * SIDE)
    skin = rng.uniform(120, 220) * np.array([1, 0.75, 0.6])
    picture = np.ones((SIDE, SIDE, 3)) * skin
    y, x = np.indices((SIDE, SIDE)) + 0.5
    cell = width / SMILE_WIDTH_CELLS
    across, below = (x - middle[0]) / cell - rng.uniform(-2, 2), (y - middle[1] - 0.6 * height) / cell
    widths = np.diff(TEETH_BOUNDARIES) * rng.uniform(0.88, 1.12, 4)
    line = np.abs(np.abs(across)[..., None] - np.cumsum([0, *widths])).min(-1)
    notch = 5 * np.clip(1 - line / 5, 0, 1)
    tooth = np.searchsorted(np.cumsum(widths), np.abs(across)) + 5 * (across > 0)
    teeth = 1.35 * skin.mean() * (np.where(line < 1.2, 0.75, 1) * rng.uniform(0.6, 1, 10)[tooth])[..., None]
    teeth = teeth + rng.normal(0, 6, (SIDE, SIDE, 1))
    inside = np.where((below < -TEETH_ARCH * across**2 - notch)[..., None], teeth, 0.2 * skin)
    mouth = cv2.fillPoly(np.zeros((SIDE, SIDE)), [np.round(points[lips, :2]).astype(np.int32)], (1,))
    picture = np.where(mouth[..., None] > 0, inside, picture)
    return picture.clip(0, 255).astype(np.uint8), points


@pytest.fixture(scope="module")
def teeth() -> NDArray[np.float32]:
    made = mean_teeth(_person(draw_toy_face(), seed) for seed in range(PEOPLE))
    assert made is not None
    return made


def test_smiles_of_many_colours_have_white_teeth_with_one_edge(teeth: NDArray[np.float32]) -> None:
    assert teeth.shape == (4, *TEETH_SIZE)
    np.testing.assert_allclose(teeth, teeth[..., ::-1], atol=1e-4)
    tooth = round(MIDDLE + TEETH_BOUNDARIES[1] / 2)
    opacity = teeth[3, :, tooth]
    assert opacity[: TEETH_EDGE_ROW - 4].min() > 0.95  # continued upwards, for lips that rise further
    assert opacity[TEETH_EDGE_ROW + 4 :].max() < 0.1
    red, green, blue = teeth[:3, TEETH_EDGE_ROW - 8, tooth]
    assert red == pytest.approx(green, rel=0.35)
    assert 0.7 < green < 1.4
    assert blue > 0.6


def test_lines_between_teeth_are_as_thin_as_those_of_one_person(teeth: NDArray[np.float32]) -> None:
    light = teeth[:3, TEETH_EDGE_ROW - 12].mean(0)
    for line, following in pairwise(TEETH_BOUNDARIES[:4]):
        tooth = round(MIDDLE + (line + following) / 2)
        at = slice(round(MIDDLE + line) - 2, round(MIDDLE + line) + 3)
        assert light[at].min() < 0.9 * light[tooth]
        beside = round(MIDDLE + line) + 5
        assert light[beside] > 0.95 * light[tooth]


def test_the_biting_edge_is_notched_between_teeth(teeth: NDArray[np.float32]) -> None:
    edge = (teeth[3] > 0.5).sum(0)
    for line, following in pairwise(TEETH_BOUNDARIES[:4]):
        at = slice(round(MIDDLE + line) - 2, round(MIDDLE + line) + 3)
        assert edge[at].min() < edge[round(MIDDLE + (line + following) / 2)] - 1


def test_two_pictures_of_one_person_count_once(toy_face: Floats) -> None:
    people = [_person(toy_face, seed) for seed in range(20)]
    assert mean_teeth([*people, *((picture // 10 * 9, points) for picture, points in people[:10])]) is None


def test_too_few_smiles_give_no_teeth(toy_face: Floats) -> None:
    assert mean_teeth(_person(toy_face, seed) for seed in range(10)) is None
    assert mean_teeth(_person(toy_face, seed, smiles=False) for seed in range(PEOPLE)) is None
