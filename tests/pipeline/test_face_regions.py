"""Faces of a picture in the order of `face_index`, and what of the picture each moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import FaceError
from openemo.pipeline import EmoPipeline
from openemo.pipeline.portrait import find_faces
from openemo.video.images import read_image


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> NDArray[np.uint8]:
    return read_image(portrait_path)[::2, ::2]


def test_a_face_lies_in_its_region(portrait: NDArray[np.uint8], tiny_pipeline: EmoPipeline) -> None:
    (face,), largest = find_faces(portrait, tiny_pipeline.face_analyzer, tiny_pipeline.config)
    assert largest == 0
    assert np.all(face.region.min(0) < face.box[:2])
    assert np.all(face.region.max(0) > face.box[2:])
    prepared = tiny_pipeline.prepare_portrait(portrait)
    middle = prepared.face.box_px.reshape(2, 2).mean(0) / portrait.shape[1]
    assert face.box.reshape(2, 2).mean(0) == pytest.approx(middle, abs=0.02)


def test_numbers_count_from_the_left(portrait: NDArray[np.uint8], tiny_pipeline: EmoPipeline) -> None:
    canvas = np.full((512, 900, 3), 128, np.uint8)
    canvas[100:356, :256] = portrait[::2, ::2]
    canvas[:512, 350:862] = portrait
    faces, largest = find_faces(canvas, tiny_pipeline.face_analyzer, tiny_pipeline.config)
    assert largest == 1
    assert faces[0].box[2] < 256 / 900 < faces[1].box[0]


def test_the_region_turns_with_the_face(portrait: NDArray[np.uint8], tiny_pipeline: EmoPipeline) -> None:
    analyzer, config = tiny_pipeline.face_analyzer, tiny_pipeline.config
    (upright,), _ = find_faces(portrait, analyzer, config)
    (turned,), _ = find_faces(np.ascontiguousarray(np.rot90(portrait)), analyzer, config)
    x, y = upright.region.T
    expected = np.stack([y, 1 - x], 1)  # a quarter turn against the clock
    assert turned.region == pytest.approx(expected, abs=0.03)


def test_no_face(tiny_pipeline: EmoPipeline) -> None:
    with pytest.raises(FaceError, match="no face found"):
        find_faces(np.zeros((200, 300, 3), np.uint8), tiny_pipeline.face_analyzer, tiny_pipeline.config)
