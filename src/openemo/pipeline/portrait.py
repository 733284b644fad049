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
from openemo.face.masks import RegionMasks, box_mask, part_masks, region_masks, resize_mask

__all__ = ["Framing", "PreparedPortrait", "prepare_portrait"]

Framing = Literal["full", "crop"]
"""The whole picture with the animated face in it, or the square around the face."""


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
        picture: (P, P, 3) uint8, the same square at the size that is decoded.
        locator: (M, S, S) float32, masks for the face locator (EMO 3.2); M is 1, or 4 with parts of the face.
        regions: masks of picture, face and lips, for audio attention by regions.
        face: the face that is animated, px of the picture as it was given.
        points: (478, 2) its landmarks in units of the crop's side.
        identity: (D,) face embedding; None is nobody in particular.
        width, height: of the video, px.
        composite: from an animated crop (P, P, 3) to a frame of the video.
        warnings: what the user should know, one sentence each.
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
    """Find the face, cut it out, draw its masks.

    Args:
        image: (height, width, 3) uint8 RGB.
        crop_px: S.
        config: which square is cut out, how, and what of it the locator marks as the face.
        framing, size_px, face_index: as in `EmoPipeline.__call__`.
        embed: face recognition network; None leaves the identity out.

    Raises:
        FaceError: no usable face. ConfigError: unknown framing, or a size out of range.
    """
    _check(framing, size_px)
    faces = analyzer.find_all(image)
    face = select_face(faces, face_index, (image.shape[1], image.shape[0]))
    region = _region(face, image, config)
    crop = region.extract(image, crop_px, config.resampling)
    x0, y0, x1, _ = region.box_px
    # At the photo's own resolution, where the published weights' masks are rounded.
    regions = region_masks(
        face.points_px[:, :2] - (x0, y0), (x1 - x0, x1 - x0), face_expansion=1 + 2 * config.locator_margin
    )
    locator = _locator(face, image, region, regions, crop_px, config)[None]
    points = np.asarray((face.points_px[:, :2] - (x0, y0)) / (x1 - x0), np.float32)
    if config.locator == "parts":
        locator = np.concatenate([locator, part_masks(points, crop_px)])
    picture, width, height, composite, warnings = _video_layout(image, region, framing, size_px)
    if face_index is None:
        warnings = _several(faces, face) + warnings
    identity = None if embed is None else embed(image, face)
    return PreparedPortrait(
        crop, picture, locator, regions, face, points, identity, width, height, composite, warnings
    )


def _video_layout(
    image: Image, region: CropRegion, framing: Framing, size_px: int | None
) -> tuple[Image, int, int, Callable[[Image], Image], tuple[str, ...]]:
    """`picture`, `width`, `height`, `composite` and `warnings` of a `PreparedPortrait`."""
    if framing == "crop":
        side_px = size_px or _CROP_SIZE_PX
        return region.extract(image, side_px), side_px, side_px, _as_it_is, ()
    shown, scale = _limit_size(image, size_px or _FULL_SIZE_PX)
    warnings: tuple[str, ...] = ()
    if scale < 1 and size_px is None:
        warnings = (
            f"the picture is {image.shape[1]}x{image.shape[0]}, the video {shown.shape[1]}x{shown.shape[0]}; "
            f"ask for size {max(image.shape[:2])} to keep every pixel",
        )
    region = replace(region, centre_px=region.centre_px * scale, side_px=region.side_px * scale)
    picture = region.extract(shown, min(round(region.side_px), _MAX_PICTURE_PX))
    height, width = shown.shape[:2]
    return picture, width, height, region.paster(shown), warnings


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
