"""Crops in their picture: the head moves by its flow, everybody else stands still, framings agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from openemo.arrays import Floats, Image
from openemo.face import CropRegion, Face, FaceAnalyzer
from openemo.face.landmarks import STABLE, face_width_px, head_pose
from openemo.face.turning import PictureTurn
from openemo.grids import centre_array
from openemo.pipeline.compositing import Compositor, HeadMotion
from openemo.video.images import read_image

GRID = 32
STILL = HeadMotion(np.zeros((2, GRID, GRID)), np.zeros(2))


@dataclass(frozen=True)
class Portrait:
    """A picture of 360 px in which the square around the face is cut by no edge."""

    image: Image
    face: Face
    region: CropRegion

    def compositor(self, framing: Any = "full", size_px: int | None = None, **changes: Any) -> Compositor:
        settings: dict[str, Any] = dict(
            shown=self.image, region=self.region, turn=None, framing=framing, size_px=size_px
        )
        given = dict(moves_head=True, upright=self.image, points_px=self.face.points_px)
        return Compositor.of(**(settings | given | changes))


@pytest.fixture(scope="module")
def portrait(portrait_path: Path, face_analyzer: FaceAnalyzer) -> Portrait:
    image = cv2.resize(read_image(portrait_path), (360, 360), interpolation=cv2.INTER_AREA)
    face = face_analyzer.find(image)
    return Portrait(image, face, CropRegion.around(face, 1.6))


def test_a_head_without_room_is_mentioned(portrait: Portrait) -> None:
    assert portrait.compositor().warnings == ()
    assert portrait.compositor(moves_head=False).warnings == ()
    x0, y0, x1, _ = portrait.face.box_px
    width = x1 - x0
    for gap, much in ((0.0, "hardly moves"), (0.1, "moves less")):
        for cut_px, way in (
            (np.array([x0 - gap * width, 0]), "sideways"),
            (np.array([0, y0 - gap * width]), "up"),
        ):
            left, top = np.maximum(np.round(cut_px).astype(int), 0)
            cut = np.ascontiguousarray(portrait.image[top:, left:])
            points = portrait.face.points_px - (left, top, 0)
            region = CropRegion(portrait.region.centre_px - (left, top), portrait.region.side_px)
            (note,) = portrait.compositor(shown=cut, upright=cut, points_px=points, region=region).warnings
            assert f"the head {much} {way}" in note
    beside = portrait.face.points_px + np.array((1.1 * width, 0, 0))
    (note,) = portrait.compositor(others_px=[beside]).warnings
    assert "the head hardly moves, because" in note


def shifted(x: float, y: float) -> HeadMotion:
    """A head that is moved, in units of the crop's side; shoulders stay."""
    flow = -np.broadcast_to(np.array([x, y])[:, None, None], (2, GRID, GRID))
    return HeadMotion(flow.astype(np.float64), np.zeros(2))


def leaning(roll_deg: float) -> HeadMotion:
    """A head that leans clockwise about the middle of the crop."""
    angle = np.radians(roll_deg)
    x, y = np.meshgrid(centre_array(GRID) - 0.5, centre_array(GRID) - 0.5)
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) - np.eye(2)
    flow = np.einsum("ij,jhw->ihw", back, np.stack([x, y]))
    return HeadMotion(flow, np.array([0.01, 0.005]))


def difference(one: Image, other: Image) -> Floats:
    return np.abs(one.astype(np.float64) - other)


@pytest.mark.parametrize("framing", ["full", "crop"])
def test_a_head_flow_of_zero_changes_nothing(portrait: Portrait, framing: str) -> None:
    composite = portrait.compositor(framing)
    crop = 255 - composite.picture
    np.testing.assert_array_equal(composite(crop, STILL), composite(crop))
    if framing == "full":  # the crop as it was cut out gives the picture back
        assert difference(composite(composite.picture, STILL), portrait.image).max() <= 1


@pytest.mark.parametrize("framing", ["full", "crop"])
def test_the_face_moves_as_the_flow_says(
    portrait: Portrait, face_analyzer: FaceAnalyzer, framing: str
) -> None:
    composite = portrait.compositor(framing)
    before = face_analyzer.find(composite(composite.picture, STILL))
    after = face_analyzer.find(composite(composite.picture, shifted(0.04, -0.03)))
    side_px = portrait.region.side_px if framing == "full" else composite.width
    way = (after.points_px - before.points_px)[list(STABLE), :2].mean(0) / side_px
    assert way == pytest.approx((0.04, -0.03), abs=0.006)
    leant = face_analyzer.find(composite(composite.picture, leaning(5.0)))
    change = head_pose(leant.points_px).roll_deg - head_pose(before.points_px).roll_deg
    assert change == pytest.approx(5, abs=1)


@pytest.mark.parametrize("motion", [shifted(0.05, 0.02), leaning(6.0)], ids=["shift", "lean"])
def test_the_crop_is_the_middle_of_the_full_frame(portrait: Portrait, motion: HeadMotion) -> None:
    side_px = round(portrait.region.side_px)
    full, crop = portrait.compositor("full"), portrait.compositor("crop", side_px)
    assert (crop.width, crop.height) == (side_px, side_px)
    np.testing.assert_array_equal(crop.picture, full.picture)
    middle = portrait.region.extract(full(full.picture, motion))
    moved = difference(middle, crop.picture).mean()
    assert moved > 5
    # Both resample the same pixels; their grids may be half a pixel apart.
    assert difference(crop(crop.picture, motion), middle).mean() < 0.1 * moved


def test_what_is_far_from_the_head_stands_still(portrait: Portrait) -> None:
    wide = cv2.copyMakeBorder(portrait.image, 0, 0, 300, 300, cv2.BORDER_REFLECT)
    offset = np.array([300, 0])
    points_px = portrait.face.points_px + np.array([300, 0, 0], np.float32)
    region = CropRegion(portrait.region.centre_px + offset, portrait.region.side_px)
    composite = portrait.compositor(shown=wide, upright=wide, region=region, points_px=points_px)
    frame = composite(composite.picture, shifted(0.06, 0.02))
    assert frame.shape == wide.shape
    changed = np.flatnonzero((frame != wide).any((0, 2)))
    reach_px = 2.25 / 2 * region.side_px + 1
    assert changed.min() > region.centre_px[0] - reach_px
    assert changed.max() < region.centre_px[0] + reach_px


def test_another_person_stands_still(portrait: Portrait) -> None:
    """The second face is within reach of the head's motion, which moves it unless it is known."""
    pair = np.concatenate([portrait.image, portrait.image[:, :300]], 1)
    x0, y0, x1, y1 = np.round(portrait.face.box_px).astype(int) + np.array([360, 0, 360, 0])
    other = portrait.face.points_px + np.array([360, 0, 0], np.float32)
    # The face that moves stands nearer to the other one, and is larger.
    big = cv2.resize(portrait.image, None, fx=1.6, fy=1.6, interpolation=cv2.INTER_CUBIC)[40:400, 130:490]
    pair[:, :360] = big
    points_px = portrait.face.points_px * 1.6 - np.array([130, 40, 0], np.float32)
    region = CropRegion.around(Face.of(points_px, 1.0), 1.6)
    frames = []
    for others in ([], [other]):
        composite = portrait.compositor(
            shown=pair, upright=pair, region=region, points_px=points_px, others_px=others
        )
        frames.append(composite(composite.picture, shifted(0.06, 0.02)))
    face = np.s_[y0:y1, x0:x1]
    assert difference(frames[0][face], pair[face]).max() > 10
    np.testing.assert_array_equal(frames[1][face], pair[face])
    own = np.s_[100:260, 100:260]
    assert difference(frames[1][own], pair[own]).mean() > 5


@pytest.mark.parametrize("framing", ["full", "crop"])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_picture_turned_by_quarters_is_composited_as_the_upright_one(
    portrait: Portrait, framing: str, quarters: int
) -> None:
    given = np.ascontiguousarray(np.rot90(portrait.image, -quarters))
    turn = PictureTurn(90.0 * quarters, *given.shape[1::-1])
    np.testing.assert_array_equal(turn.apply(given), portrait.image)
    upright, turned = portrait.compositor(framing), portrait.compositor(framing, shown=given, turn=turn)
    np.testing.assert_array_equal(turned.picture, upright.picture)
    frames = [one(one.picture, leaning(6.0)) for one in (upright, turned)]
    moved = difference(frames[0], upright(upright.picture, STILL)).mean()
    # A turned square may lie half a pixel beside the upright one.
    assert difference(np.rot90(frames[1], quarters), frames[0]).mean() < 0.15 * moved


@pytest.mark.parametrize("framing", ["full", "crop"])
def test_a_head_in_a_tilted_picture_moves_along_its_own_axes(
    portrait: Portrait, face_analyzer: FaceAnalyzer, framing: str
) -> None:
    """A head that goes down by its flow goes down in the picture that is turned upright."""
    angle_deg = 30.0
    given = PictureTurn(360 - angle_deg, 360, 360).apply(portrait.image)
    turn = PictureTurn(angle_deg, *given.shape[1::-1])
    upright = turn.apply(given)
    face = face_analyzer.find(upright)
    composite = portrait.compositor(
        framing,
        shown=given,
        upright=upright,
        turn=turn,
        region=CropRegion.around(face, 1.6),
        points_px=face.points_px,
    )
    back = PictureTurn(angle_deg, composite.width, composite.height)
    faces = [
        face_analyzer.find(back.apply(composite(composite.picture, motion)))
        for motion in (STILL, shifted(0.0, 0.05))
    ]
    way = (faces[1].points_px - faces[0].points_px)[list(STABLE), :2].mean(0)
    side_px = 1.6 * face_width_px(faces[0].points_px) * (CropRegion.around(face, 1).side_px)
    side_px /= face_width_px(face.points_px)
    assert way / side_px == pytest.approx((0, 0.05), abs=0.008)


def test_opacity_moves_with_the_head(portrait: Portrait) -> None:
    opaque = np.zeros(portrait.image.shape[:2], np.uint8)
    x0, y0, x1, y1 = np.round(portrait.face.box_px).astype(int)
    opaque[y0 - 40 : y1, x0 - 10 : x1 + 10] = 255
    composite = portrait.compositor(shown=np.dstack([portrait.image, opaque]))
    frame = composite(composite.picture, shifted(0.05, 0.0))
    assert frame.shape == (360, 360, 4)
    rows = slice(y0, y1)
    way = (np.arange(360) * (frame[rows, :, 3] - opaque[rows].astype(float))).sum(1) / 255 / (x1 - x0 + 20)
    assert way.mean() == pytest.approx(0.05 * portrait.region.side_px, rel=0.25)


def test_without_head_motion_the_crop_alone_is_the_frame(portrait: Portrait) -> None:
    """As for models that draw whole frames."""
    composite = portrait.compositor("crop", 96, moves_head=False)
    crop: Image = np.random.default_rng(1).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    np.testing.assert_array_equal(composite(crop), crop)
