"""Crops as in the training of published networks; alignment for face embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import CheckpointError
from openemo.face import CropRegion, Face
from openemo.face.face_embedder import FaceEmbedder, align_face
from openemo.face.onnx_session import OnnxInput


def face_at(box: tuple[float, float, float, float]) -> Face:
    return Face(np.array(box), np.zeros((478, 3), np.float32), 1.0)


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((300.2, 100.0, 420.0, 260.0), (900, 400), (160, 0, 560, 400)),  # as near to the face as can be
        ((10, 20, 90, 120), (900, 400), (0, 0, 400, 400)),
        ((800, 20, 890, 120), (900, 400), (500, 0, 900, 400)),
        ((50, 700, 150, 800), (400, 900), (0, 500, 400, 900)),
        ((10, 10, 20, 20), (64, 64), (0, 0, 64, 64)),
    ],
)
def test_largest_square(
    box: tuple[float, ...], size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert CropRegion.largest(face_at(box), *size).box_px == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        # 100 x 140 grown by half of each side: 200 wide, 70 above and 50 below: a square as wide as that.
        ((200, 200, 300, 340), (150, 160, 350, 360)),
        # Cut at the left and the top: 180 wide, 210 high before the cut to a square.
        ((30, 20, 130, 160), (0, 15, 180, 195)),
        # Cut at the right; the border below is that of the sides, 55.
        ((480, 300, 590, 380), (425, 260, 600, 435)),
    ],
)
def test_square_inside(box: tuple[float, ...], expected: tuple[int, int, int, int]) -> None:
    region = CropRegion.inside(face_at(box), 2.0, 600, 500)  # type: ignore[arg-type]
    x0, y0, x1, y1 = region.box_px
    assert x1 - x0 == y1 - y0
    assert x0 >= 0
    assert y0 >= 0
    assert x1 <= 600
    assert y1 <= 500
    assert region.box_px == expected


def test_each_resampling_gives_its_own_result() -> None:
    image = np.random.default_rng(4).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    region = CropRegion(np.array([45.0, 45.0]), 90.0)
    made = {name: region.extract(image, 30, name) for name in ("area", "antialiased", "bilinear")}
    assert all(picture.shape == (30, 30, 3) and picture.flags.writeable for picture in made.values())
    # Without averaging each pixel is one of the image's: the sample positions are pixel centres here.
    assert np.array_equal(made["bilinear"], image[1::3, 1::3])
    assert not np.array_equal(made["area"], made["antialiased"])


def test_alignment_undoes_rotation_scale_and_shift() -> None:
    """An image that is bright at the five points: after alignment they lie where the network expects them."""
    template = np.array(
        [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    )
    angle, scale = np.radians(25), 2.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    positions = template @ turn.T + (180.0, 40.0)
    points = np.zeros((478, 3), np.float32)
    for indices, position in zip(
        (range(468, 473), range(473, 478), (1,), (61,), (291,)), positions, strict=True
    ):
        points[list(indices), :2] = position
    image = np.zeros((500, 500, 3), np.uint8)
    rows, columns = np.mgrid[:500, :500]
    for x, y in positions:
        image[(columns - x) ** 2 + (rows - y) ** 2 < 36] = 255
    aligned = align_face(image, Face(np.array([0, 0, 1, 1]), points, 1.0))
    assert aligned.shape == (112, 112, 3)
    for x, y in np.rint(template).astype(int):
        assert aligned[y, x].min() > 200
    assert aligned.mean() < 20


def test_a_file_that_is_no_face_embedder_is_refused(tmp_path: Path, face_weights_dir: Path) -> None:
    broken = tmp_path / "face.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(CheckpointError, match="cannot be read"):
        FaceEmbedder.from_onnx(broken)
    with pytest.raises(CheckpointError, match="no face embedder"):
        FaceEmbedder.from_onnx(face_weights_dir / "face_landmarks_detector.onnx")


def test_the_network_reads_the_aligned_face_in_minus_one_to_one() -> None:
    seen: list[NDArray[np.float32]] = []

    @dataclass
    class Input:
        name: str
        shape: list[int | str | None]
        type: str = "tensor(float)"

    class Session:
        """A session whose embedding is the mean of each channel."""

        def get_inputs(self) -> list[OnnxInput]:
            return [Input("data", [None, 3, 112, 112])]

        def get_outputs(self) -> list[OnnxInput]:
            return [Input("embedding", [None, 3])]

        def run(self, _: None, feed: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            seen.append(feed["data"])
            return [feed["data"].mean(axis=(2, 3))]

    points = np.random.default_rng(3).uniform(20, 80, (478, 3)).astype(np.float32)
    image = np.full((100, 100, 3), (255, 0, 255), np.uint8)
    embedding = FaceEmbedder(Session())(image, Face(np.array([20, 20, 80, 80]), points, 1.0))
    assert embedding.shape == (3,)
    assert seen[0].shape == (1, 3, 112, 112)
    assert seen[0].min() == -1
    assert embedding[1] == -1  # there is no green
