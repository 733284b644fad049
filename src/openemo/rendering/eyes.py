"""Draws the eyes of a portrait looking elsewhere and closing, before the flow moves anything.

A warp squeezes the whole eye, and the flow grid is too coarse for an eyelid. A real eye does not shrink when
it closes: the lid's skin unfolds from under the crease, the lashes go down with the edge, and the eyeball
stays in place. A real gaze turns the iris between lids that follow it up and down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.behaviour.curves import soft_limit
from openemo.face.landmarks import LEFT_EYE, LEFT_IRIS, LIDS, RIGHT_EYE, RIGHT_IRIS
from openemo.rendering.corner_line import CornerLine
from openemo.rendering.eye_fields import Field, mix, shade, smoothstep
from openemo.rendering.eye_motion import EyeMotion
from openemo.rendering.eye_shape import EyeShape
from openemo.rendering.eyeball import Eyeball
from openemo.rendering.eyelid_skin import LidSkin
from openemo.rendering.glasses import rim_masks
from openemo.rendering.lash_fringe import LashFringe

__all__ = ["EyePatch", "Eyes"]

_LID_DOWN, _LID_UP, _LOWER_FOLLOWS = 0.85, 0.6, 0.25  # how far lids follow the iris, over its own way
# Opening over width of the eye: up to the first nothing can look, from the second all of the iris can.
_CLOSED, _OPEN = 0.06, 0.14
# White that stays beside the iris, in widths of the eye: at the outer corner, and at the inner one with its
# lacrimal caruncle. An eye that shows less in the photo moves by the last of these.
_OUTER_WHITE, _INNER_WHITE, _LEAST_ROOM = 0.05, 0.12, 0.04
_HANGING: Final = 0.7  # length of lashes that point down, over that of open ones
_MIN_LASH: Final = 0.25  # length of lashes that point at the viewer, over the same
_HAZE_SHARE: Final = 0.4  # darkness of the haze of lashes under a shut lid, over that of the line
_HAIR_SHARE: Final = 0.8  # the same of single lashes
_WET_RIM: Final = (0.5, 0.9)  # closed by so much, the lower lid's wet rim goes out of sight
_UNFOLDED: Final = 0.7  # share of the crease's darkness that goes in a shut lid
_MIN_DARKNESS, _MAX_DARKNESS = 0.45, 0.66  # of the line in which the lids meet
_BULGE: Final = 0.1  # how much lighter a shut lid is in its middle, and darker at its edge
_CHEEKS: Final = (50, 101, 118, 123, 147, 205, 280, 330, 347, 352, 376, 425)  # landmarks on bare skin
_OTHER_HUE: Final = 0.1  # difference of a channel's share that no shade or make-up of a cheek has
# Lengths in widths of the eye.
_OWN_HANGING: Final = (0.01, 0.05)  # below the line in which the lids meet, the portrait's own lashes fade
_LINE: Final = 0.022  # standard deviation of the dark line at the edge
_HAZE: Final = 0.05  # length of the lashes' shade
_FOLD: Final = 0.06  # half of the height of the crease
_RIGID: Final = 0.07  # height of the lid's edge, which is moved without stretching


@dataclass(frozen=True, slots=True)
class EyePatch:
    """Pixels (h, w, 3) uint8 that replace those of the picture from column x0 and row y0 on."""

    x0: int
    y0: int
    pixels: Image

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns that it replaces."""
        height, width = self.pixels.shape[:2]
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


class Eyes:
    """Both eyes of one portrait.

    Args:
        image: (Q, Q, 3) uint8 RGB.
        points: (478, 2 or more) landmarks, in units of the image's side.
    """

    # A program may have numpy raise; shades that fade to nothing are meant to.
    @np.errstate(under="ignore")
    def __init__(self, image: Image, points: Floats) -> None:
        self._side_px = image.shape[0]
        points_px = np.asarray(points[:, :2] * self._side_px, np.float64)
        parts = ((RIGHT_EYE, LIDS[:16], RIGHT_IRIS), (LEFT_EYE, LIDS[16:], LEFT_IRIS))
        shapes = [EyeShape.of(points_px, *part, image.shape[:2]) for part in parts]
        inside = [shape for shape in shapes if shape is not None]
        outer_corners = CornerLine.between(points_px[RIGHT_EYE[0]], points_px[LEFT_EYE[0]])
        rims = iter(rim_masks(image, outer_corners, inside))
        eyes = [None if shape is None else _Eye(shape, image, next(rims)) for shape in shapes]
        cheeks = _cheek_colour(image, points_px)
        is_placed = all(eye.has_skin_of(cheeks) for eye in eyes if eye is not None)
        self._eyes = eyes if is_placed else [None, None]
        looking = [eye for eye in eyes if eye is not None and eye.gaze_gain > 0]
        self._gaze_gain = min((eye.gaze_gain for eye in looking), default=0.0)
        self._room = tuple(min((eye.room[side] for eye in looking), default=0.0) for side in (0, 1))

    @np.errstate(under="ignore")
    def draw(
        self, gaze_2: Floats, eyes_closed_2: Floats, flow_2gg: NDArray[np.float32] | None = None
    ) -> list[EyePatch]:
        """What changes in the picture; nothing for eyes as they are, or where landmarks miss the lids.

        Both eyes turn alike: as far as the one can go that has less white on that side, or is less open.

        Args:
            gaze_2: right and down, of the irises from where they are, in widths of the eye.
            eyes_closed_2: how far the eye on the left of the picture and that on the right are closed, 0 as
                in the photo, 1 shut.
            flow_2gg: backward flow, in units of the side, that will move the picture. Irises keep their form
                in it while lids rise or fall.
        """
        patches = []
        for eye, closed in zip(self._eyes, eyes_closed_2, strict=True):
            if eye is None:
                continue
            gaze = self._limited(gaze_2) if eye.gaze_gain > 0 else (0.0, 0.0)
            carried = None if flow_2gg is None or eye.gaze_gain == 0 else eye.carried(flow_2gg, self._side_px)
            if closed > 0 or carried is not None or np.any(gaze):
                patches.append(eye.draw(gaze, min(max(float(closed), 0.0), 1.0), carried))
        return patches

    def _limited(self, gaze_2: Floats) -> tuple[float, float]:
        """Irises keep white on both sides."""
        if self._gaze_gain == 0:
            return 0.0, 0.0
        left, right = self._room
        across = float(soft_limit(np.array(self._gaze_gain * gaze_2[0]), -left, right))
        return across, self._gaze_gain * float(gaze_2[1])


class _Eye:
    """One eye, ready to be drawn for each frame. Fields are those of its box.

    Attributes:
        gaze_gain: 0 where the portrait's eye is too narrow to look elsewhere, 1 where it is open.
        room: how far the iris can go to the left and to the right, in widths of the eye.
    """

    def __init__(self, shape: EyeShape, image: Image, rim: Field | None) -> None:
        self._shape = shape
        self._pixels = shape.cut(image)
        self._ball = Eyeball(shape, self._pixels)
        self._rim = rim
        self._skin = LidSkin(shape, self._pixels, image, rim)
        self._soft_px = _edge_width_px(self._pixels)
        self._edge_px = max(2.0, 0.5 * self._soft_px)
        self.gaze_gain = float(smoothstep(np.array(shape.opening), _CLOSED, _OPEN))
        self.room = _room(shape)
        self._follows = smoothstep(shape.openness, 0, 0.8)
        self._way = np.maximum(shape.shut - shape.upper, 1e-3)
        darkness = min(max(_MIN_DARKNESS, self._skin.lash_darkness), _MAX_DARKNESS)
        self._darkness = darkness * (1 - 0.5 * smoothstep(shape.s, 0.6, 1.1))  # less near the nose
        self._hairs = LashFringe.of(shape.width_px, self._soft_px)
        self._middle = np.exp(-(((shape.s - 0.5) / 0.3) ** 2)) * smoothstep(shape.openness, 0, 0.5)
        fold = np.exp(-(((shape.t - shape.crease) / (_FOLD * shape.width_px)) ** 2))
        self._fold = _UNFOLDED * fold * shape.motion

    def has_skin_of(self, colour: Floats) -> bool:
        """Skin surrounds the lids. In drawings with huge eyes the landmarks may lie within the eye."""
        lid = self._skin.colour[self._shape.openness > 0]
        return lid.size == 0 or float(np.abs(_hue(lid.mean(0)) - _hue(colour)).max()) < _OTHER_HUE

    def carried(self, flow_2gg: NDArray[np.float32], side_px: int) -> EyeMotion | None:
        return EyeMotion.of(self._shape, flow_2gg, side_px)

    def draw(self, gaze: tuple[float, float], closed: float, carried: EyeMotion | None) -> EyePatch:
        shape = self._shape
        right, down = (shape.width_px * value for value in gaze)
        along = right * float(shape.line.down[0]) + down * float(shape.line.down[1])
        upper = shape.upper + (_LID_DOWN if along > 0 else _LID_UP) * along * self._follows
        lower = shape.lower + _LOWER_FOLLOWS * along * self._follows
        upper = np.minimum(upper, lower)
        drawn = self._pixels
        edge = upper + closed * shape.motion * np.maximum(shape.shut - upper, 0)
        # Along lids that stay, the photo's own edge is better than one that is drawn anew.
        moved = min(float(np.abs(edge - shape.upper).max()) / self._edge_px, 1.0)
        if (right or down or carried is not None) and closed < 1:
            inside = np.minimum(shape.t - shape.upper, shape.lower - shape.t)
            kept = np.clip(inside / np.clip(0.15 * shape.gap, 1, self._edge_px) + moved, 0, 1)
            ball = self._ball.looking(right, down, carried)
            drawn = mix(drawn, ball, kept * np.clip(lower - upper - 0.5, 0, 1))
        if moved > 0:
            lower = lower - closed * np.maximum(lower - shape.shut, 0)
            lids = self._with_upper_lid(self._with_lower_lid(drawn, lower, closed), edge, closed)
            drawn = np.asarray(drawn + np.float32(moved) * (lids - drawn), np.float32)
        if self._rim is not None:
            drawn = mix(drawn, self._pixels, self._rim)
        return EyePatch(*shape.corner_px, np.asarray(cv2.convertScaleAbs(drawn), np.uint8))

    def _with_lower_lid(self, drawn: NDArray[np.float32], edge: Field, closed: float) -> NDArray[np.float32]:
        shape = self._shape
        share = np.clip((shape.below - shape.t) / (shape.below - edge), 0, 1)
        hidden = float(smoothstep(np.array(closed), *_WET_RIM))
        skin = (
            self._pixels + np.float32(hidden) * (self._skin.lower - self._pixels) if hidden else self._pixels
        )
        lid = shape.sample(skin, share * (shape.lower - edge))
        return mix(drawn, lid, self._cover(shape.t - edge))

    def _with_upper_lid(self, drawn: NDArray[np.float32], edge: Field, closed: float) -> NDArray[np.float32]:
        shape, skin, width = self._shape, self._skin, self._shape.width_px
        height, moved = edge - shape.t, edge - shape.upper
        platform = shape.upper - shape.crease
        rigid = np.minimum(_RIGID * width, 0.7 * platform)
        # From 0 at the crease to 1 where the edge begins, which is not stretched.
        place = (shape.t - shape.crease) / np.maximum(edge - rigid - shape.crease, 1)
        lid = shape.sample(skin.bare, -moved * np.clip(place, 0, 1))
        unfolded = smoothstep(moved / platform, 0.1, 1.2) * smoothstep(place, -0.05, 0.35)
        unfolded *= smoothstep(height / width, -0.02, 0.04)
        lid = mix(lid, self._unfolded_skin(place, moved), unfolded)
        # What is dark at the crease is its fold and the tips of lashes; the skin that unfolds lightens both.
        lid = mix(lid, np.maximum(lid, skin.colour), closed * self._fold)
        return self._with_lashes(mix(drawn, lid, self._cover(height)), height, moved)

    def _unfolded_skin(self, place: Field, moved: Field) -> NDArray[np.float32]:
        """Skin that the open eye hides, lit as a ball is; its grain moves with the edge."""
        light = self._middle * np.exp(-np.square((place - 0.35) / 0.28)) - smoothstep(place, 0.5, 1.1)
        grain = self._shape.sample(self._skin.grain, -moved)
        return shade(self._skin.colour, grain * (1 + _BULGE * light))

    def _with_lashes(self, drawn: NDArray[np.float32], height: Field, moved: Field) -> NDArray[np.float32]:
        shape = self._shape
        going = np.clip(moved / self._way, 0, 1) * shape.motion
        # Their length, seen from the front: 1 as in the portrait, below zero for lashes that point down.
        length = 1 - (1 + _HANGING) * going
        length = np.where(length >= 0, np.maximum(length, _MIN_LASH), np.minimum(length, -_MIN_LASH))
        source = shape.upper - height / length
        lashes = shape.sample(self._skin.lashes, source - shape.t, beyond=1.0)
        # Hanging ones are drawn: what is read further from the edge may be the crease.
        crease = smoothstep(-height / shape.width_px, *_OWN_HANGING) * (length < 0)
        return shade(drawn, np.minimum(lashes + crease * (1 - lashes), self._shadow(height, going)))

    def _shadow(self, height: Field, going: Field) -> Field:
        """The dark line at the lid's edge, and the haze of the lashes under it.

        Args:
            height: above the edge, px.
            going: how far the lid is on its way, 0 to 1.
        """
        width = self._shape.width_px
        strength = np.minimum(1.4 * going, 1) * self._darkness
        line_px = math.hypot(_LINE * width, 0.4 * self._soft_px)
        line = np.exp(-0.5 * np.square(height / line_px))
        haze = np.exp(np.minimum(height, 0) / (_HAZE * width)) * smoothstep(-height / width, -_LINE, _LINE)
        hairs = self._hairs.sample(self._shape.s, -height / width) if strength.any() else 0.0
        dark = np.maximum(line, np.maximum(_HAZE_SHARE * haze, _HAIR_SHARE * hairs))
        return np.asarray(1 - strength * dark, np.float32)

    def _cover(self, inside_px: Field) -> Field:
        """1 inside of a lid, 0 outside, with a soft edge."""
        soft = max(0.5, 0.25 * self._soft_px)
        return np.asarray(np.clip(inside_px / (2 * soft) + 0.5, 0, 1), np.float32)


def _room(shape: EyeShape) -> tuple[float, float]:
    """How far the iris can go to the left and to the right, in widths of the eye."""
    s, _ = shape.line.to_line(shape.iris_px)
    radius = shape.iris_radius_px / shape.width_px
    outwards = max(float(s) - radius - _OUTER_WHITE, _LEAST_ROOM)
    inwards = max(1 - float(s) - radius - _INNER_WHITE, _LEAST_ROOM)
    return (outwards, inwards) if shape.line.across[0] > 0 else (inwards, outwards)


def _hue(colour: Floats) -> Floats:
    """Shares of red, green and blue."""
    return np.asarray(colour / max(float(colour.sum()), 1.0))


def _cheek_colour(image: Image, points_px: Floats) -> Floats:
    """(3,) the median around landmarks of both cheeks."""
    limit = np.array(image.shape[1::-1]) - 1
    columns, rows = np.clip(np.round(points_px[list(_CHEEKS)]), 0, limit).astype(int).T
    return np.asarray(np.median(image[rows, columns], axis=0), np.float64)


def _edge_width_px(pixels: Field) -> float:
    """Width of the sharpest edges: what is drawn is no sharper than the portrait."""
    brightness = pixels.mean(-1)
    low, high = np.percentile(brightness, [2, 98])
    steps = np.hypot(*np.gradient(brightness))
    return float((high - low) / max(float(np.percentile(steps, 99.5)), 1e-3))
