"""Region masks: Hallo's numbers, and where the rectangles must not go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from openemo.face.landmarks import INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.face.masks import (
    RegionMasks,
    box_mask,
    expand_box,
    level_sizes,
    part_masks,
    region_masks,
    resize_mask,
)
from tests.parity import cases, config, folder_of

GREY = 1 / 255 + 1e-6  # one grey level: OpenCV's resize and blur round differently from version to version


class Recorded(NamedTuple):
    """A case: its settings, its landmarks, what Hallo made of them."""

    folder: Path
    config: dict[str, Any]
    landmarks: dict[str, NDArray[Any]]
    expected: dict[str, NDArray[Any]]

    def masks(self, name: str) -> tuple[RegionMasks, tuple[int, int]]:
        scene = self.config["scenes"][name]
        size = (scene["width"], scene["height"])
        expansion = scene.get("expand_ratio")
        face, lips = (expansion or scene[f"{part}_expand_ratio"] for part in ("face", "lip"))
        points = self.landmarks[f"{name}.landmarks"]
        return region_masks(points, size, face_expansion=face, lips_expansion=lips), size

    @property
    def scenes(self) -> list[str]:
        """Those of a single frame in which Hallo's own code does what it means to."""
        return [name for name in self.config["scenes"] if name not in ("union", _FAULTY)]


_FAULTY = "peer_bug_face_fills_image"


@pytest.fixture(scope="module", params=cases("hallo_masks"))
def recorded(request: pytest.FixtureRequest) -> Recorded:
    folder = folder_of(request.param)
    return Recorded(
        folder, config(folder), *(load_file(folder / f"{part}.safetensors") for part in ("inputs", "outputs"))
    )


def close(got: NDArray[Any], expected: NDArray[Any]) -> bool:
    return bool(np.abs(got.astype(int) - expected.astype(int)).max() <= 1)


def test_rectangles_are_hallos(recorded: Recorded) -> None:
    assert recorded.scenes
    for name in (*recorded.scenes, "union"):
        masks, _ = recorded.masks(name)
        boxes = recorded.config["scenes"][name]["boxes"]
        for part, (x0, y0, x1, y1) in (("face", masks.face_box), ("lip", masks.lips_box)):
            assert boxes[part] == {"rows": [y0, y1], "cols": [x0, x1]}


def test_masks_are_hallos(recorded: Recorded) -> None:
    for name in recorded.scenes:
        masks, size = recorded.masks(name)
        for part, mask in (
            ("face_blur", masks.face_with_lips),
            ("sep_background", masks.picture),
            ("sep_face", masks.face),
            ("sep_lip", masks.lips),
        ):
            assert close(mask, recorded.expected[f"{name}.u8.{part}"])
        for level, three in enumerate(masks.levels(level_sizes((64, 64), 4))):
            for part, values in zip(("full", "face", "lip"), three, strict=True):
                expected = recorded.expected[f"{name}.{part}_mask.{level}"][0]
                assert np.abs(values.ravel() - expected).max() <= GREY
        locator = resize_mask(box_mask(masks.face_box, size), (512, 512)) * 255
        with np.load(recorded.folder / "face_region_u8.npz") as regions:
            assert close(np.rint(locator), regions[name])


def test_union_of_frames_is_hallos(recorded: Recorded) -> None:
    (masks, _), expected = recorded.masks("union"), recorded.expected
    for part, mask in (
        ("face_blur", masks.face_with_lips),
        ("sep_face", masks.face),
        ("sep_lip", masks.lips),
    ):
        assert close(mask, expected[f"union.u8.{part}"])
    assert np.abs(255.0 - masks.face_with_lips - expected["union.sep_pose_float"]).max() <= 1


def test_background_is_cut_off_not_rounded(recorded: Recorded) -> None:
    """The conversion alone, for every grey level."""
    expected = recorded.expected["background_lut_u8"]
    greys = np.arange(256, dtype=np.uint8)
    assert np.array_equal(((1.0 - greys / 255.0) * 255).astype(np.uint8), expected)
    assert (expected != 255 - greys).sum() == 50


def test_expansion_is_hallos_but_for_boxes_that_leave_the_picture(recorded: Recorded) -> None:
    for case in recorded.config["expand_region_table"]:
        x0, x1, y0, y1 = case["region_minx_maxx_miny_maxy"]
        got = expand_box((x0, y0, x1, y1), (case["image_w"], case["image_h"]), case["ratio"])
        x0, x1, y0, y1 = (max(0, edge) for edge in case["result"])
        assert got == (x0, y0, x1, y1)


def test_a_face_that_fills_the_picture(recorded: Recorded) -> None:
    """Hallo's own code takes the negative edge for an index from the end, and the mask collapses."""
    masks, (_, height) = recorded.masks(_FAULTY)
    assert (masks.face_box[1], masks.face_box[3]) == (0, height)
    assert masks.face_with_lips[32, 32] > 200


def test_levels_have_the_networks_sizes() -> None:
    assert level_sizes((40, 24), 4) == [(40, 24), (20, 12), (10, 6), (5, 3)]
    points = np.random.default_rng(2).uniform(30, 90, (478, 3))
    masks = region_masks(points, (130, 110), face_expansion=1.1)
    for (width, height), three in zip(
        level_sizes((40, 24), 3), masks.levels(level_sizes((40, 24), 3)), strict=True
    ):
        assert three.shape == (3, height, width)
        assert three.dtype == np.float32
        assert three.min() >= 0
        assert three.max() <= 1


def _ellipse(
    indices: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]
) -> NDArray[Any]:
    """The contour's landmarks on an ellipse, in their order."""
    turn = np.linspace(0, 2 * np.pi, len(indices), endpoint=False)
    return np.stack([centre[0] + radii[0] * np.cos(turn), centre[1] + radii[1] * np.sin(turn)], 1)


def test_parts_of_the_face_cover_what_their_contours_enclose() -> None:
    size_px = 200
    points = np.zeros((478, 3))
    gap = (0.1, 0.03)
    for contour, centre, radii in (
        (OUTER_LIPS, (0.5, 0.7), (0.15, 0.08)),
        (INNER_LIPS, (0.5, 0.7), gap),
        (RIGHT_EYE, (0.3, 0.4), (0.06, 0.03)),
        (LEFT_EYE, (0.7, 0.4), (0.06, 0.03)),
    ):
        points[list(contour), :2] = _ellipse(contour, centre, radii)
    lips, opening, eyes = masks = part_masks(points, size_px)
    assert masks.shape == (3, size_px, size_px)
    assert (masks.min(), masks.max()) == (0, 1)
    # OpenCV draws half a pixel beyond the edge, which is a tenth of the thinnest.
    for mask, area in ((lips, 0.15 * 0.08), (opening, gap[0] * gap[1]), (eyes, 2 * 0.06 * 0.03)):
        assert mask.mean() == pytest.approx(np.pi * area, rel=0.2)
    ticks = (np.arange(size_px) + 0.5) / size_px
    for mask, centre in ((lips, (0.5, 0.7)), (opening, (0.5, 0.7)), (eyes, (0.5, 0.4))):
        found = (mask.sum(0) @ ticks / mask.sum(), mask.sum(1) @ ticks / mask.sum())
        assert found == pytest.approx(centre, abs=0.3 / size_px)  # a third of a pixel
    points[list(INNER_LIPS), 1] = 0.7  # closed
    assert part_masks(points, size_px)[1].mean() < 0.3 * opening.mean() + 0.01
