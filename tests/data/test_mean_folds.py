"""Folds from sheets of expressions: what is common to people is found, in the neutral picture's light."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from openemo.arrays import Floats, Image
from openemo.behaviour.expression_shapes import EMOTIONS
from openemo.data.expression_sheets import emotion_pictures, sheet_paths
from openemo.data.mean_folds import mean_folds
from openemo.errors import TrainingError
from openemo.face import FaceAnalyzer
from openemo.video.images import read_image, write_image

Pictures = dict[str, tuple[Image, Floats]]


@pytest.fixture(scope="module")
def cell(portrait_path: Path) -> Image:
    """The bundled portrait, small."""
    picture = read_image(portrait_path)
    return np.asarray(cv2.resize(picture, (240, 240), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def person(cell: Image, face_analyzer: FaceAnalyzer, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """Of a sheet whose cells are the same face: shifted, larger and darker."""
    cells = []
    for index in range(16):
        scale, shift = 1 + 0.02 * (index % 4), 2.0 * (index // 4)
        matrix = np.array([[scale, 0, shift - 4], [0, scale, -shift]])
        moved = cv2.warpAffine(cell, matrix, (240, 240), borderMode=cv2.BORDER_REPLICATE)
        cells.append(np.round(moved * (1 - 0.02 * index)).astype(np.uint8))
    rows = [np.concatenate(cells[start : start + 4], 1) for start in range(0, 16, 4)]
    sheet = tmp_path_factory.mktemp("people") / "P001" / "assets" / "emotions_sheet.jpg"
    sheet.parent.mkdir(parents=True)
    write_image(sheet, np.concatenate(rows))
    (path,) = sheet_paths(sheet.parent.parent.parent)
    return emotion_pictures(path, face_analyzer, size_px=256, crop_scale=1.6)


def test_a_sheet_becomes_faces_that_stand_still_in_one_light(person: Pictures) -> None:
    assert set(person) == {"neutral", *EMOTIONS}
    neutral, home = person["neutral"]
    inside = slice(90, 170)
    for picture, points in person.values():
        assert np.median(np.linalg.norm(points - home, axis=1)) < 1.0
        difference = picture[inside, inside].astype(float) - neutral[inside, inside]
        assert abs(difference.mean()) < 2
        assert np.abs(difference).mean() < 8


def test_a_line_that_an_expression_has_is_found_where_it_is(person: Pictures) -> None:
    neutral, points = person["neutral"]
    x, y = (points[9]).astype(int)  # between the brows
    frowning = neutral.copy()
    frowning[y - 8 : y + 8, x - 1 : x + 2] = np.round(frowning[y - 8 : y + 8, x - 1 : x + 2] * 0.7)
    pictures = dict.fromkeys(("neutral", *EMOTIONS), (neutral, points))
    made = mean_folds([pictures | {"angry": (frowning, points)}])
    folds = made["folds"].astype(float)
    assert np.abs(np.delete(folds, EMOTIONS.index("angry"), 0)).max() < 0.02
    angry = folds[EMOTIONS.index("angry")]
    row, column = np.unravel_index(np.argmin(angry), angry.shape)
    place = np.array([column + 0.5, row + 0.5]) / angry.shape[0]
    assert np.abs(place - made["points"][9].astype(float)).max() < 0.04
    assert angry.min() < -0.1
    np.testing.assert_allclose(angry, angry[:, ::-1], atol=0.01)


def test_a_folder_without_sheets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no sheets of expressions"):
        sheet_paths(tmp_path)
