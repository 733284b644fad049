"""The portrait, once per video: the face, the crop that is animated, the picture around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.config import PipelineConfig
from openemo.errors import ConfigError
from openemo.face import CropRegion, Face, FaceAnalyzer, select_face
from openemo.face.crop import integer_box
from openemo.face.landmarks import head_pose
from openemo.face.masks import RegionMasks, box_mask, part_masks, region_masks, resize_mask
from openemo.face.turning import PictureTurn
from openemo.pipeline.rest_pose import find_rest_pose
from openemo.video.transparency import bleed_colours, on_white

__all__ = ["Framing", "PreparedPortrait", "prepare_portrait"]

Framing = Literal["full", "crop"]
"""The whole picture with the animated face in it, or the square around the face."""


_UPRIGHT_DEG: Final = 8.0  # networks and rendering cope with such a roll
_MAX_TURNS, _SAME_ANGLE_DEG = 3, 2.0
_MIN_SIZE_PX: Final = 64
_MAX_SIZE_PX: Final = 8192  # H.264 level 6.2
_CROP_SIZE_PX: Final = 512
_FULL_SIZE_PX: Final = 1920
_MAX_PICTURE_PX: Final = 1024  # the crop is decoded no larger; pasting enlarges it


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
        width, height: of the video, px.
        composite: from an animated crop, (P, P, 3) or (P, P, 4), to a frame of the video.
        warnings: what the user should know, one sentence each.
        is_mouth_covered: something hides the mouth, which then stays still.
    """

    crop: Image
    picture: Image
    locator: NDArray[np.float32]
    regions: RegionMasks
    face: Face
    points: NDArray[np.float32]
    identity: NDArray[np.float32] | None
    width: int
    height: int
    composite: Callable[[Image], Image]
    warnings: tuple[str, ...]
    is_mouth_covered: bool = False


def prepare_portrait(
    image: Image,
    analyzer: FaceAnalyzer,
    *,
    crop_px: int,
    config: PipelineConfig,
    framing: Framing,
    size_px: int | None,
    face_index: int | None,
    embed: Callable[[Image, Face], NDArray[np.float32]] | None = None,
) -> PreparedPortrait:
    """Find the face, cut it out, draw its masks. A mouth that stands open is closed first.

    Args:
        image: (height, width, 3) uint8 RGB; (height, width, 4) with opacity, which the frames then have, too.
        crop_px: S.
        config: which square is cut out, how, and what of it the locator marks as the face.
        framing, size_px, face_index: as in `EmoPipeline.__call__`.
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
    if framing == "crop":
        layout = _crop_layout(shown, turn, region, size_px)
    else:
        layout = _full_layout(shown, turn, region, size_px)
    warnings = _lying(turn) + layout.warnings
    if face_index is None:
        warnings = _several(faces, chosen) + warnings
    return PreparedPortrait(
        crop=crop,
        picture=layout.picture,
        locator=locator,
        regions=regions,
        face=face,
        points=points,
        identity=None if embed is None else embed(rest.image, face),
        width=layout.shown.shape[1],
        height=layout.shown.shape[0],
        composite=layout.composite,
        warnings=warnings + rest.warnings,
        is_mouth_covered=rest.is_mouth_covered,
    )


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


@dataclass(frozen=True, slots=True)
class _Layout:
    """Parts of a `PreparedPortrait`. `shown`: what is given, as large as the video."""

    picture: Image
    shown: Image
    composite: Callable[[Image], Image]
    warnings: tuple[str, ...] = ()


def _crop_layout(image: Image, turn: PictureTurn | None, region: CropRegion, size_px: int | None) -> _Layout:
    """The square around the face. A turned face stays as given; corners out of its reach are still."""
    side_px = size_px or _CROP_SIZE_PX
    picture = region.extract(image if turn is None else turn.apply(image), side_px)
    if turn is None:
        return _Layout(picture, picture, _as_it_is)
    given = replace(region, centre_px=turn.points_to_given(region.centre_px))
    shown = given.extract(image, side_px)
    turn_of_shown = replace(turn, width_px=side_px, height_px=side_px)
    middle = CropRegion(np.array(turn_of_shown.turned_size_px) / 2, side_px)
    return _Layout(picture, shown, middle.paster(shown, turn_of_shown))


def _full_layout(image: Image, turn: PictureTurn | None, region: CropRegion, size_px: int | None) -> _Layout:
    """The whole picture, smaller where it is too large for a video."""
    shown, scale = _limit_size(image, size_px or _FULL_SIZE_PX)
    height, width = shown.shape[:2]
    warnings: tuple[str, ...] = ()
    if scale < 1 and size_px is None:
        warnings = (
            f"the picture is {image.shape[1]}x{image.shape[0]}, the video {width}x{height}; "
            f"ask for size {max(image.shape[:2])} to keep every pixel",
        )
    centre_px, upright, turn_of_shown = region.centre_px * scale, shown, None
    if turn is not None:
        turn_of_shown = replace(turn, width_px=width, height_px=height)
        centre_px = turn_of_shown.points_to_turned(turn.points_to_given(region.centre_px) * scale)
        upright = turn_of_shown.apply(shown)
    region = CropRegion(centre_px, region.side_px * scale)
    picture = region.extract(upright, min(round(region.side_px), _MAX_PICTURE_PX))
    return _Layout(picture, shown, region.paster(shown, turn_of_shown), warnings)


def _as_it_is(frame: Image) -> Image:
    return frame


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


def _limit_size(image: Image, longest_px: int) -> tuple[Image, float]:
    """The picture, averaged down where a side is longer, and the scale."""
    height, width = image.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    if scale == 1:
        return image, scale
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale
