"""From animated crops to frames of the video: the crop goes into the picture, and the head moves there.

Pixels are those of the upright picture, in which the face stands upright, unless said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face import CropRegion
from openemo.face.crop import FEATHER, Paster
from openemo.face.person_mask import person_mask
from openemo.face.turning import PictureTurn
from openemo.rendering.head_warp import Box, HeadWarp, Part

__all__ = ["Compositor", "Framing", "HeadMotion"]

Framing = Literal["full", "crop"]
"""The whole picture with the animated face in it, or the square around the face."""

_CROP_SIZE_PX: Final = 512
_FULL_SIZE_PX: Final = 1920
_MAX_PICTURE_PX: Final = 1024  # the crop is decoded no larger; pasting enlarges it
_WIDE: Final = 2.25  # side of the square in which a head moves, over that of the crop
_HAIR: Final = 0.3  # how far a head reaches beyond the box of its face, over the box's sides
_PERSON_PX: Final = 512  # side of that square where the person is looked for
# Below these parts of its motion a head moves visibly less, and hardly at all.
_LESS, _HARDLY = 0.5, 0.1
_CROP_MARGIN: Final = 1.3  # of what is kept around a crop that is shown alone: it moves into the crop


class HeadMotion(NamedTuple):
    """How head and torso stand in one frame.

    Attributes:
        head_flow_2gg: backward flow of the head as a rigid body, in units of the crop's side.
        torso_2: right and down, in face widths.
    """

    head_flow_2gg: Floats
    torso_2: Floats


@dataclass(frozen=True, slots=True)
class Compositor:
    """Puts animated crops into a picture.

    Attributes:
        picture: (P, P, C) the crop as it is decoded.
        width, height: of the frames, px.
        warnings: one sentence each.
    """

    picture: Image
    width: int
    height: int
    warnings: tuple[str, ...]
    _paste: Paster | None
    _moving: _MovingHead | None
    _cut: tuple[slice, slice]

    @classmethod
    def of(
        cls,
        shown: Image,
        region: CropRegion,
        turn: PictureTurn | None,
        *,
        framing: Framing,
        size_px: int | None,
        moves_head: bool,
        upright: Image | None = None,
        points_px: Floats | None = None,
        others_px: Sequence[Floats] = (),
    ) -> Self:
        """The compositor of one portrait.

        Args:
            shown: the picture as given, (height, width, 3 or 4) uint8.
            region: the square that is animated.
            turn: between the given picture and the upright one; None if they are the same.
            size_px: side of the crop, or longest side of the video; None for the usual one.
            moves_head: frames come with a `HeadMotion`; needs `upright`, the upright picture in colours, and
                `points_px`, the landmarks (478, 2 or more) in it.
            others_px: landmarks of other people's faces in it, who stand still.
        """
        if framing == "crop" and not moves_head and turn is None:
            picture = region.extract(shown, size_px or _CROP_SIZE_PX)
            return cls(picture, len(picture), len(picture), (), None, None, (slice(None), slice(None)))
        if framing == "crop":
            layout = _crop_layout(shown, region, turn, size_px or _CROP_SIZE_PX)
        else:
            layout = _full_layout(shown, region, turn, size_px)
        moving, warnings = None, layout.warnings
        if moves_head:
            assert upright is not None
            assert points_px is not None
            warp = head_warp(upright, region, points_px, turn=turn, others_px=others_px)
            moving = _MovingHead.of(layout, warp)
            warnings += _little_room(warp)
        height, width = (
            len(range(*part.indices(length)))
            for part, length in zip(layout.cut, layout.shown.shape[:2], strict=True)
        )
        paste = None if moves_head else layout.region.paster(layout.shown, layout.turn)
        return cls(layout.picture, width, height, warnings, paste, moving, layout.cut)

    def __call__(self, crop: Image, motion: HeadMotion | None = None) -> Image:
        """A frame of the video, (height, width, C) uint8.

        Args:
            crop: (P, P, C) uint8, as decoded.
            motion: None leaves the head where it is.
        """
        if self._moving is not None:
            return np.ascontiguousarray(self._moving(crop, motion)[self._cut])
        return crop if self._paste is None else np.ascontiguousarray(self._paste(crop)[self._cut])


def head_warp(
    upright: Image,
    region: CropRegion,
    points_px: Floats,
    *,
    turn: PictureTurn | None = None,
    others_px: Sequence[Floats] = (),
) -> HeadWarp:
    """The warp of a head, over the square that is `_WIDE` times as wide as the crop.

    Args:
        turn: between the photo and `upright`; None if they are the same.
    """
    wide = replace(region, side_px=_WIDE * region.side_px)
    x0, y0, x1, _ = wide.box_px
    side_px, height, width = x1 - x0, *upright.shape[:2]
    crop = region.box_px
    linear, shift = (np.eye(2), np.zeros(2)) if turn is None else turn.to_given()
    size = np.array((width, height) if turn is None else (turn.width_px, turn.height_px))
    start = (linear @ (x0, y0) + shift) / side_px
    end = size / side_px - start
    others = [_head_box((points[:, :2] - (x0, y0)) / side_px) for points in others_px]
    return HeadWarp.of(
        (points_px[:, :2] - (x0, y0)) / side_px,
        _person(upright, wide),
        crop=((crop[0] - x0) / side_px, (crop[1] - y0) / side_px, (crop[2] - crop[0]) / side_px),
        photo=(float(-start[0]), float(-start[1]), float(end[0]), float(end[1])),
        to_photo_22=linear,
        others=others,
    )


def _little_room(warp: HeadWarp) -> tuple[str, ...]:
    across, down = (float(share) for share in warp.room_2)
    if min(across, down) >= _LESS:
        return ()
    way = "" if max(across, down) < _LESS else " sideways" if across < down else " up and down"
    much = "hardly moves" if min(across, down) < _HARDLY else "moves less"
    return (
        f"the head {much}{way}, because the edge of the photo or another person is close to the face; "
        "a photo with more room around it lets it move",
    )


def _person(upright: Image, wide: CropRegion) -> NDArray[np.float32]:
    """(256, 256) probability of a person in a square: the better of two readings, of picture and square."""
    scale = min(1.0, _PERSON_PX / wide.side_px)
    if scale < 1:  # a large face would make the square very large
        size = [max(1, round(scale * length)) for length in upright.shape[1::-1]]
        upright = np.asarray(cv2.resize(upright, size, interpolation=cv2.INTER_AREA), np.uint8)
        wide = CropRegion(wide.centre_px * scale, wide.side_px * scale)
    height, width = upright.shape[:2]
    whole = cv2.resize(person_mask(upright), (width, height))
    in_square = _small(wide.extract(np.asarray(255 * whole, np.uint8))) / np.float32(255)
    return np.asarray(np.maximum(in_square, person_mask(wide.extract(upright))), np.float32)


def _head_box(points: Floats) -> Box:
    """Box of a head with its hair, from the landmarks of its face."""
    low, high = points.min(0), points.max(0)
    low, high = low - _HAIR * (high - low), high + _HAIR * (high - low)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _small(mask: Image) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(mask, (256, 256), interpolation=cv2.INTER_AREA), np.float32)


@dataclass(frozen=True, slots=True)
class _Layout:
    """A picture that is animated, in pixels of the video.

    Attributes:
        picture: the crop as it is decoded.
        shown: what frames are cut from, as given.
        region, turn: as of `Compositor.of`, in these pixels.
        upright: `shown`, turned.
        wide: side of the square in which the head moves here, over that of the crop.
        cut: rows and columns of `shown` that the video has.
    """

    picture: Image
    shown: Image
    region: CropRegion
    turn: PictureTurn | None
    upright: Image
    wide: float = _WIDE
    cut: tuple[slice, slice] = (slice(None), slice(None))
    warnings: tuple[str, ...] = ()


class _MovingHead:
    """Puts crops into the wide square, moves the head there, and puts the square into the picture.

    Of the square only what the picture shows is made, unless it lies askew in the picture.
    """

    def __init__(self, inner: Paster, warp: HeadWarp, box: Part, paste: Callable[[Image], Image]) -> None:
        self._inner, self._warp, self._box, self._paste = inner, warp, box, paste

    @classmethod
    def of(cls, layout: _Layout, warp: HeadWarp) -> Self:
        region = layout.region
        x0, y0, x1, _ = region.box_px
        wide = CropRegion(region.centre_px, layout.wide * region.side_px)
        left, top, right, _ = wide.box_px
        side_px, wide_px = x1 - x0, right - left
        outer = wide.paster(layout.shown, layout.turn)
        paste: Callable[[Image], Image]
        # Where the wide square lies in the square that the warp was measured in.
        share = layout.wide / _WIDE
        corner = (1 - share) / 2
        if layout.turn is None:
            rows, columns = outer.place
            around = layout.shown[rows, columns]
            offset = np.array([columns.start, rows.start])
            paste = outer.paste_part
        else:
            around = wide.extract(layout.upright)
            offset = np.array([left, top])
            paste = outer
        inside = CropRegion(np.array([x0, y0]) - offset + side_px / 2, side_px)
        start = corner + (offset - (left, top)) / wide_px * share
        box = (float(start[0]), float(start[1]), around.shape[1] / wide_px * share)
        return cls(inside.paster(around), warp, box, paste)

    def __call__(self, crop: Image, motion: HeadMotion | None) -> Image:
        frame = self._inner(crop)
        if motion is not None:
            frame = self._warp(frame, motion.head_flow_2gg, motion.torso_2, self._box)
        return self._paste(frame)


def _crop_layout(shown: Image, region: CropRegion, turn: PictureTurn | None, side_px: int) -> _Layout:
    """The square around the face, with a margin that is cut off again. A turned face stays as given."""
    margin_px = round((_CROP_MARGIN - 1) / 2 * side_px)
    given = region if turn is None else replace(region, centre_px=turn.points_to_given(region.centre_px))
    around = replace(given, side_px=given.side_px * (side_px + 2 * margin_px) / side_px)
    kept = around.extract(shown, side_px + 2 * margin_px)
    cut = slice(margin_px, margin_px + side_px)
    upright = kept
    if turn is None:
        middle = CropRegion(np.full(2, len(kept) / 2), side_px)
        picture = region.extract(shown, side_px)
    else:
        picture = region.extract(turn.apply(shown), side_px)
        turn = replace(turn, width_px=len(kept), height_px=len(kept))
        upright = turn.apply(kept)
        middle = CropRegion(np.array(turn.turned_size_px) / 2, side_px)
    wide = max(upright.shape[:2]) / side_px  # what moves there beyond the frame is cut off
    return _Layout(picture, kept, middle, turn, upright, wide, (cut, cut))


def _full_layout(given: Image, region: CropRegion, turn: PictureTurn | None, size_px: int | None) -> _Layout:
    """The whole picture, smaller where it is too large for a video."""
    shown, scale = _limit_size(given, size_px or _FULL_SIZE_PX)
    height, width = shown.shape[:2]
    warnings: tuple[str, ...] = ()
    if scale < 1 and size_px is None:
        warnings = (
            f"the picture is {given.shape[1]}x{given.shape[0]}, the video {width}x{height}; "
            f"ask for size {max(given.shape[:2])} to keep every pixel",
        )
    centre_px, upright, turn_of_shown = region.centre_px * scale, shown, None
    if turn is not None:
        turn_of_shown = replace(turn, width_px=width, height_px=height)
        centre_px = turn_of_shown.points_to_turned(turn.points_to_given(region.centre_px) * scale)
        upright = turn_of_shown.apply(shown)
    region = CropRegion(centre_px, region.side_px * scale)
    picture = region.extract(upright, min(round(region.side_px), _MAX_PICTURE_PX))
    wide = _wide_enough(region, upright.shape[1], upright.shape[0])
    return _Layout(picture, shown, region, turn_of_shown, upright, wide, warnings=warnings)


def _wide_enough(region: CropRegion, width: int, height: int) -> float:
    """Side of the square in which a head moves, over that of the crop: no more than the picture needs."""
    x, y = (float(centre) for centre in region.centre_px)
    reach = max(x, width - x, y, height - y) / (1 - 2 * FEATHER)
    return float(np.clip(2 * reach / region.side_px, 1, _WIDE))


def _limit_size(image: Image, longest_px: int) -> tuple[Image, float]:
    """The picture, averaged down where a side is longer, and the scale."""
    height, width = image.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    if scale == 1:
        return image, scale
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale
