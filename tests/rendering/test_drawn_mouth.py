"""The mouth of a drawing opens in the drawing's own colours, and its line stays a line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.face.landmarks import FACE_OVAL, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.image_tensors import images_to_tensor, tensor_to_images
from openemo.rendering.drawing_palette import DrawingPalette
from openemo.rendering.flow import warp
from openemo.rendering.mouth_drawing import draw_mouth_interior
from openemo.rendering.mouth_interior import TEETH_EDGE_ROW, TEETH_SIZE, MouthInterior
from tests.rendering.drawings import LINE, LINE_PX, MOUTH, SIDE, SKIN, WHITE, draw_cartoon, with_irises

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]
GRID, ROW = 64, round(0.64 * SIDE)


def _teeth() -> NDArray[np.float32]:
    teeth = np.ones((4, *TEETH_SIZE), np.float32)
    teeth[3, TEETH_EDGE_ROW + 1 :] = 0
    return teeth


def _opening(height: float, middle: float = 0.64) -> Tensor:
    """(1, 2, g, g): the lips part by a height; the grid is as coarse as that of a network."""
    y = (torch.arange(GRID) + 0.5) / GRID - middle
    room = (1 - (y.abs() - height / 2).clamp_min(0) / 0.3).clamp(0, 1) * height / 2
    flow = torch.zeros(1, 2, GRID, GRID)
    flow[:, 1] = torch.where(y.abs() < height / 2, -y, -y.sign() * room)[:, None]
    return flow


def _frame(picture: Image, interior: MouthInterior, flow: Tensor) -> Image:
    refined = interior.refine_flow(flow)
    moved = warp(images_to_tensor([picture]), refined, is_bicubic=True)
    return next(iter(tensor_to_images(interior.composite(moved, refined).clamp(-1, 1)[:, :, None])))


def _mouth(frame: Image) -> Image:
    return frame[ROW - 45 : ROW + 55, round(0.41 * SIDE) : round(0.59 * SIDE)]


@pytest.fixture
def face(toy_face: Floats) -> Floats:
    return with_irises(toy_face)


@pytest.mark.parametrize("height", [0.0, 0.02, 0.06])
def test_an_open_mouth_has_the_colours_of_the_drawing_alone(face: Floats, height: float) -> None:
    picture = draw_cartoon()
    interior = draw_mouth_interior(picture, face, _teeth())
    mouth = _mouth(_frame(picture, interior, _opening(height))).reshape(-1, 3).astype(int)
    palette = np.array([SKIN, LINE, MOUTH, WHITE])
    distance = np.abs(mouth[:, None] - palette).max(-1).min(1)
    # Only smooth edges are mixtures.
    assert (distance > 3).mean() < 0.06
    assert distance.mean() < 3


def test_the_line_of_a_shut_mouth_stays_as_straight_and_as_thick_as_it_is(face: Floats) -> None:
    picture = draw_cartoon()
    interior = draw_mouth_interior(picture, face, _teeth())
    assert interior.drawn_mouth is not None
    shift = torch.zeros(1, 2, GRID, GRID)
    shift[:, 1] = 3.4 / SIDE
    for flow in (torch.zeros_like(shift), shift):
        mouth = _mouth(_frame(picture, interior, flow))
        inked = np.abs(mouth.astype(float) - SKIN).sum(-1) / np.abs(np.subtract(MOUTH, SKIN)).sum()
        columns = inked[:, 16:-16]
        assert columns.sum(0) == pytest.approx(np.full(columns.shape[1], LINE_PX), abs=0.7)
        middles = (columns * np.arange(len(columns))[:, None]).sum(0) / columns.sum(0)
        assert np.ptp(middles) < 0.2


def test_an_opening_has_smooth_edges_in_the_line_s_colour(face: Floats) -> None:
    picture = draw_cartoon()
    interior = draw_mouth_interior(picture, face, _teeth())
    mouth = _mouth(_frame(picture, interior, _opening(0.06)))
    drawn = np.abs(mouth.astype(int) - SKIN).max(-1) > 40
    columns = np.flatnonzero(drawn.any(0))
    first = drawn[:, columns].argmax(0)
    assert np.ptp(first) > 4
    assert np.abs(np.diff(first, 2))[8:-8].max() <= 2  # no steps
    for column in columns[10:-10]:
        edge = mouth[drawn[:, column].argmax() + 2, column].astype(int)
        assert np.abs(edge - MOUTH).max() < 12


def test_teeth_in_a_grid_of_pixels_are_one_white_band(face: Floats) -> None:
    """Although the model's teeth have lines between them."""
    teeth = _teeth()
    teeth[:3, :, ::20] = 0.3
    for kind in ("line", "lips"):
        picture = draw_cartoon(kind)
        mouth = _mouth(_frame(picture, draw_mouth_interior(picture, face, teeth), _opening(0.08)))
        white = np.asarray((mouth > 250).all(-1))
        assert white.sum() > 60
        row = white[white.sum(1).argmax()]
        inside = row[np.flatnonzero(row)[0] : np.flatnonzero(row)[-1] + 1]
        assert inside.all()


def test_painted_lips_are_moved_and_an_open_mouth_shuts(face: Floats) -> None:
    assert draw_mouth_interior(draw_cartoon("lips"), face, _teeth()).drawn_mouth is None
    picture = draw_cartoon("open")
    interior = draw_mouth_interior(picture, face, _teeth())
    assert interior.drawn_mouth is not None
    assert interior.drawn_mouth.is_shape
    heights = []
    for height in (0.0, 0.03, 0.08):
        mouth = _mouth(_frame(picture, interior, _opening(height)))
        heights.append(int((np.abs(mouth.astype(int) - SKIN).max(-1) > 60)[:, mouth.shape[1] // 2].sum()))
    assert heights[0] < 2.5 * LINE_PX
    assert heights[0] < heights[1] < heights[2]


def test_a_mouth_that_is_not_alone_on_plain_skin_is_left_to_the_warp(face: Floats) -> None:
    picture = draw_cartoon().copy()
    picture[ROW - 60 : ROW + 60 : 3, 100:300] = LINE  # a beard
    assert draw_mouth_interior(picture, face, _teeth()).drawn_mouth is None


def test_teeth_take_the_white_of_the_eyes_and_no_iris() -> None:
    """Eyes that are nearly all iris, as in comics: their only white is a light."""
    picture = np.full((200, 200, 3), (255, 224, 200), np.uint8)
    points = np.tile([100.0, 100.0], (478, 1))
    for eye, x in ((RIGHT_EYE, 70), (LEFT_EYE, 130)):
        around = np.linspace(0, 2 * np.pi, len(eye), endpoint=False)
        points[list(eye)] = np.stack([x + 12 * np.cos(around), 80 + 12 * np.sin(around)], 1)
        picture[66:95, x - 14 : x + 15] = (60, 110, 210)
        picture[72:79, x - 3 : x + 4] = 255
    for contour, middle, radius in ((FACE_OVAL, (100, 100), 80), (OUTER_LIPS, (100, 140), 12)):
        around = np.linspace(0, 2 * np.pi, len(contour), endpoint=False)
        points[list(contour)] = np.add(middle, radius * np.stack([np.cos(around), np.sin(around)], 1))
    np.testing.assert_array_equal(DrawingPalette.of(picture, points).light, [255, 255, 255])
    picture[(picture == 255).all(-1)] = (60, 110, 210)  # without the lights
    np.testing.assert_array_equal(DrawingPalette.of(picture, points).light, [255, 224, 200])
