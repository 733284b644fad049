"""The portrait, once per video: the face, the crop that is animated, the picture around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.config import PipelineConfig
from openemo.errors import ConfigError
from openemo.face import CropRegion, Face, FaceAnalyzer, select_face
from openemo.face.analyzer import left_to_right
from openemo.face.crop import integer_box
from openemo.face.landmarks import head_pose
from openemo.face.masks import RegionMasks, box_mask, part_masks, region_masks, resize_mask
from openemo.face.turning import PictureTurn
from openemo.pipeline.compositing import Compositor, Framing
from openemo.pipeline.rest_pose import find_rest_pose
from openemo.video.transparency import bleed_colours, on_white

__all__ = ["FaceInPicture", "Framing", "PreparedPortrait", "find_faces", "prepare_portrait"]

_UPRIGHT_DEG: Final = 8.0  # networks and rendering cope with such a roll
_MAX_TURNS, _SAME_ANGLE_DEG = 3, 2.0
_MIN_SIZE_PX: Final = 64
_MAX_SIZE_PX: Final = 8192  # H.264 level 6.2


@dataclass(frozen=True, slots=True)
class PreparedPortrait:
    """A portrait, ready for the networks and for the video.

    Attributes:
        crop: (S, S, 3) uint8, the square around the face at the size that networks read.
        picture: (P, P, 3) uint8, the same square at the size that is decoded; (P, P, 4) with opacity.
        locator: (M, S, S) float32, masks for the face locator (EMO 3.2); M is 1, or 4 with parts of the face.
        regions: masks of picture, face and lips, for audio attention by regions.
        face: the face that is animated, upright and at rest, px of the picture turned so.
        points: (478, 2) its landmarks in units of the crop's side.
        identity: (D,) face embedding; None is nobody in particular.
        composite: from an animated crop, (P, P, 3) or (P, P, 4), to a frame of the video.
        warnings: what the user should know, one sentence each.
        is_mouth_covered: something hides the mouth, which then stays still.
        own_smile: strength of the smile that was taken out of the photo, 0 to 1; it comes back at times.
        own_teeth: the teeth that it showed, see `RestPose`.
    """

    crop: Image
    picture: Image
    locator: NDArray[np.float32]
    regions: RegionMasks
    face: Face
    points: NDArray[np.float32]
    identity: NDArray[np.float32] | None
    composite: Compositor
    warnings: tuple[str, ...]
    is_mouth_covered: bool = False
    own_smile: float = 0.0
    own_teeth: NDArray[np.float32] | None = None

    @property
    def width(self) -> int:
        """Of the video, px."""
        return self.composite.width

    @property
    def height(self) -> int:
        """Of the video, px."""
        return self.composite.height


def prepare_portrait(
    image: Image,
    analyzer: FaceAnalyzer,
    *,
    crop_px: int,
    config: PipelineConfig,
    framing: Framing,
    size_px: int | None,
    face_index: int | None,
    moves_head: bool = False,
    embed: Callable[[Image, Face], NDArray[np.float32]] | None = None,
) -> PreparedPortrait:
    """Find the face, cut it out, draw its masks. A mouth that stands open is
    closed first, and a smile is taken out.

    Args:
        image: (height, width, 3) uint8 RGB; (height, width, 4) with opacity, which the frames then have, too.
        crop_px: S.
        config: which square is cut out, how, and what of it the locator marks as the face.
        framing, size_px, face_index: as in `EmoPipeline.__call__`.
        moves_head: frames are composited with a `HeadMotion`.
        embed: face recognition network; None leaves the identity out.

    Raises:
        FaceError: no usable face. ConfigError: unknown framing, or a size out of range.
    """
    _check(framing, size_px)
    shown = image
    if image.shape[2] == 4:
        image, shown = on_white(image), bleed_colours(image)
    faces = analyzer.find_all(image)
    chosen = select_face(faces, face_index, (image.shape[1], image.shape[0]))
    upright, face, turn = _turned_upright(image, chosen, analyzer)
    rest = find_rest_pose(upright, face, analyzer)
    face = rest.face
    region = _region(face, upright, config)
    if rest.image is not upright:
        shown = _with_changes(shown, upright, rest.image, turn, region)
    crop = region.extract(rest.image, crop_px, config.resampling)
    x0, y0, x1, _ = region.box_px
    # At the photo's own resolution, where the published weights' masks are rounded.
    regions = region_masks(
        face.points_px[:, :2] - (x0, y0), (x1 - x0, x1 - x0), face_expansion=1 + 2 * config.locator_margin
    )
    locator = _locator(face, upright, region, regions, crop_px, config)[None]
    points = np.asarray((face.points_px[:, :2] - (x0, y0)) / (x1 - x0), np.float32)
    if config.locator == "parts":
        locator = np.concatenate([locator, part_masks(points, crop_px)])
    composite = Compositor.of(
        shown,
        region,
        turn,
        framing=framing,
        size_px=size_px,
        moves_head=moves_head,
        upright=rest.image,
        points_px=face.points_px,
        others_px=[
            other.points_px if turn is None else turn.points_to_turned(other.points_px)
            for other in faces
            if other is not chosen
        ],
    )
    warnings = _lying(turn) + composite.warnings
    if face_index is None:
        warnings = _several(faces, chosen) + warnings
    return PreparedPortrait(
        crop=crop,
        picture=composite.picture,
        locator=locator,
        regions=regions,
        face=face,
        points=points,
        identity=None if embed is None else embed(rest.image, face),
        composite=composite,
        warnings=warnings + rest.warnings,
        is_mouth_covered=rest.is_mouth_covered,
        own_smile=rest.own_smile,
        own_teeth=rest.own_teeth,
    )


@dataclass(frozen=True, slots=True)
class FaceInPicture:
    """Where a face is, and what is animated with it; both in widths and heights of the picture.

    Attributes:
        box: (4,) x0, y0, x1, y1 of the face.
        region: (4, 2) corners of the square that the networks animate, which may leave the picture.
    """

    box: NDArray[np.float64]
    region: NDArray[np.float64]


def find_faces(
    image: Image, analyzer: FaceAnalyzer, config: PipelineConfig
) -> tuple[list[FaceInPicture], int]:
    """The faces in the order of `face_index`, and the number of the largest.

    Args:
        image: (height, width, 3) uint8 RGB.

    Raises:
        FaceError: there is none, or the only one cannot be used.
    """
    size = np.array([image.shape[1], image.shape[0]], np.float64)
    faces = analyzer.find_all(image)
    if len(faces) < 2:
        select_face(faces, None, (image.shape[1], image.shape[0]))
    ordered = left_to_right(faces)
    found = []
    for given in ordered:
        upright, face, turn = _turned_upright(image, given, analyzer)
        x0, y0, x1, y1 = _region(face, upright, config).box_px
        corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)
        region = corners if turn is None else turn.points_to_given(corners)
        found.append(FaceInPicture(given.box_px / np.tile(size, 2), region / size))
    return found, next(number for number, face in enumerate(ordered) if face is faces[0])


def _upright_angle(roll_deg: float) -> float:
    """Angle in [0, 360) to turn by: none if the face is nearly upright, and close to quarters just these."""
    quarter_deg = 90.0 * round(roll_deg / 90)
    return (quarter_deg if abs(roll_deg - quarter_deg) <= _UPRIGHT_DEG else roll_deg) % 360


def _turned_upright(
    image: Image, face: Face, analyzer: FaceAnalyzer
) -> tuple[Image, Face, PictureTurn | None]:
    """The picture in which the face is upright, the face as found there, and the turn between both."""
    angle_deg, upright, found, turn = 0.0, image, face, None
    for _ in range(_MAX_TURNS):  # the roll of a face far from upright is not known well
        better_deg = _upright_angle(head_pose(found.points_px).roll_deg + angle_deg)
        if abs(better_deg - angle_deg) < _SAME_ANGLE_DEG:
            break
        angle_deg = better_deg
        turn = PictureTurn(angle_deg, image.shape[1], image.shape[0])
        upright = turn.apply(image)
        expected = Face.of(turn.points_to_turned(face.points_px), face.score)
        near = (other for other in analyzer.find_all(upright) if other.holds(expected))
        found = next(near, None) or analyzer.track(upright, expected) or expected
    return (upright, found, turn) if angle_deg else (image, face, None)


def _with_changes(
    shown: Image, upright: Image, changed: Image, turn: PictureTurn | None, region: CropRegion
) -> Image:
    """The given picture with what was changed within a region of the upright one; opacity stays."""
    is_changed = (changed != upright).any(-1)
    result = shown.copy() if turn is None else turn.apply(shown)
    result[is_changed, :3] = changed[is_changed]
    return result if turn is None else region.paster(shown, turn)(region.extract(result))


def _region(face: Face, image: Image, config: PipelineConfig) -> CropRegion:
    height_px, width_px = image.shape[:2]
    if config.crop == "largest":
        return CropRegion.largest(face, width_px, height_px)
    if config.crop == "inside":
        return CropRegion.inside(face, config.crop_scale, width_px, height_px)
    return CropRegion.around(face, config.crop_scale)


def _locator(
    face: Face,
    image: Image,
    region: CropRegion,
    regions: RegionMasks,
    crop_px: int,
    config: PipelineConfig,
) -> NDArray[np.float32]:
    if config.locator == "landmarks":
        side = region.box_px[2] - region.box_px[0]
        return resize_mask(box_mask(regions.face_box, (side, side)), (crop_px, crop_px))
    if config.locator == "box":
        x0, y0, x1, y1 = integer_box(face)
        grow_x, grow_y = (int(length * config.locator_margin) for length in (x1 - x0, y1 - y0))
        box = (max(0, x0 - grow_x), max(0, y0 - grow_y), x1 + grow_x, y1 + grow_y)
        mask = region.extract(box_mask(box, (image.shape[1], image.shape[0])), crop_px, config.resampling)
        return np.asarray(mask, np.float32) / np.float32(255)
    return region.locator_mask(face, crop_px, config.locator_margin)


def _check(framing: Any, size_px: int | None) -> None:
    if framing not in get_args(Framing):
        raise ConfigError("unknown `framing`", got=repr(framing), expected='"full" or "crop"')
    if size_px is not None and not _MIN_SIZE_PX <= size_px <= _MAX_SIZE_PX:
        raise ConfigError(
            "the size is out of range", got=f"{size_px} px", expected=f"{_MIN_SIZE_PX} to {_MAX_SIZE_PX} px"
        )


def _lying(turn: PictureTurn | None) -> tuple[str, ...]:
    if turn is None or 45 <= (turn.angle_deg + 90) % 360 <= 135:
        return ()
    way = "upside down" if 135 <= turn.angle_deg <= 225 else "on its side"
    return (f"the face is {way}, and stays so in the video; turn the picture if that is not meant",)


def _several(faces: list[Face], chosen: Face) -> tuple[str, ...]:
    if len(faces) < 2:
        return ()
    place = sum(face.box_px[0] + face.box_px[2] < chosen.box_px[0] + chosen.box_px[2] for face in faces)
    return (
        f"{len(faces)} faces were found; the largest is animated, which is face {place} "
        f"(0 is the leftmost, {len(faces) - 1} the rightmost); choose another by its number",
    )
