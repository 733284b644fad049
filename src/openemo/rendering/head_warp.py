"""One warp moves the head with its hair, and the shoulders a little, in the picture around the face.

The network's head flow says how the head moves as a rigid body, within the square that the networks see. The
warp carries it on to the hair beyond that square. Outside of the head it fades with the distance from its
outline, so that no edge shows; shoulders and chest have a motion of their own.

Shapes: N frames, g x g the head flow's grid, n x n the grid of the warp, over the wide picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, face_width_px
from openemo.grids import centre_array
from openemo.rendering.face_patch import Place
from openemo.rendering.sharp_sampling import SharpPicture

__all__ = ["Box", "HeadWarp", "Part"]

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""

Part = tuple[float, float, float]
"""x0, y0 and width of a part of the wide picture; its height is that of the frame."""

_GRID: Final = 96
# In face widths: how far from the outline of head and torso their motion fades; how far above the picture's
# edge vertical motion fades, and beside it horizontal motion; where the head ends under the chin, and how far
# below the chin nothing moves with it.
_HEAD_FADE, _TORSO_FADE, _EDGE_FADE, _NECK, _NECK_FADE = 1.0, 0.6, 0.3, 0.05, 0.9
# Motion reaches so many times as far across its direction as along it; less so from that height above the
# chin on (face widths), so that shoulders do not go along.
_ACROSS, _CHIN = 2.0, 1.0
_MOUTH: Final = 13  # landmark
_HAIR_ROOM: Final = 0.9  # between face and side of the photo, in which hair that it cuts moves in full
_BAND_PX: Final = 32  # rows at a time: what they need stays in the cache
_STILL_PX: Final = 0.002  # what moves by less keeps its grey levels
_WHOLE: Final[Part] = (0.0, 0.0, 1.0)
_REACH: Final = 1.1  # of the head from the middle of the face sideways: hair, but no second person


@dataclass(frozen=True, slots=True)
class HeadWarp:
    """The warp of one portrait. Units are the side of the wide picture, unless said.

    Attributes:
        head_2nn, torso_2nn: how much of the motion of head and torso along rows and columns each position
            takes part in, 0 to 1.
        edge_2nn: 1, falling to 0 at the edges of the photo: at those beside for motion along its rows, at
            those above and below for motion along its columns; and 0 where other people are. A face that has
            less room than that moves less as a whole, so that it keeps its form.
        to_photo_22: rotation from the wide picture's axes to those of the photo.
        face_width: of the portrait.
        crop: x0, y0 and side of the square that head flows cover.
    """

    head_2nn: NDArray[np.float32]
    torso_2nn: NDArray[np.float32]
    edge_2nn: NDArray[np.float32]
    to_photo_22: Floats
    face_width: float
    crop: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        points: Floats,
        person: NDArray[np.float32],
        *,
        crop: tuple[float, float, float],
        photo: Box = (0.0, 0.0, 1.0, 1.0),
        to_photo_22: Floats | None = None,
        others: Sequence[Box] = (),
    ) -> Self:
        """The warp of a portrait.

        Args:
            points: (478, 2 or more) landmarks in the wide picture, units of its side.
            person: (h, w) probability of a person over the wide picture, any size.
            crop: x0, y0 and side of the square that head flows cover.
            photo: x0, y0, x1, y1 of the photo, in its own axes; around it the border repeats.
            to_photo_22: rotation of positions in the wide picture into these axes; None for none.
            others: boxes of the heads of other people, who stand still.
        """
        face_width = face_width_px(points)
        is_head, is_torso = _head_and_torso(points, person, face_width)
        below = (centre_array(_GRID) - points[152, 1])[:, None] / face_width
        head = _fade_beside(is_head, _HEAD_FADE * face_width, _smooth(below / _CHIN + 1))
        head = head * _smooth(1 - below / _NECK_FADE)
        torso = _fade(is_torso, _TORSO_FADE * face_width) * (1 - head)
        to_photo = np.eye(2) if to_photo_22 is None else np.asarray(to_photo_22, np.float64)
        # Beside the chin it may be a shoulder, which lies behind the head and is not stretched by it.
        is_beside = is_head & (centre_array(_GRID) < points[_MOUTH, 1])[:, None]
        reaches_22, share_2 = _hair_at_sides(is_beside, _face(points), photo, to_photo, face_width)
        edge = _edges(photo, to_photo, reaches_22, _EDGE_FADE * face_width)
        for box in others:
            edge = edge * _smooth(_distance(box) / (_EDGE_FADE * face_width))
        # A face that were moved less on one side than on the other would be squeezed.
        room = edge[:, _face(points)].min(1)
        edge = np.minimum(edge, room[:, None, None]) * share_2[:, None, None]
        return cls(head, torso, edge.astype(np.float32), to_photo, face_width, crop)

    @property
    def head_nn(self) -> NDArray[np.float32]:
        """How much of all of the head's motion each position takes part in."""
        return np.asarray(self.head_2nn.min(0))

    @property
    def room_2(self) -> Floats:
        """How much of its motion the whole head has along the photo's rows and columns, 0 to 1."""
        return np.asarray(self.edge_2nn.max(axis=(1, 2)))

    def displacement(self, head_flow_2gg: Floats, torso_2: Floats) -> NDArray[np.float32]:
        """(n, n, 2): where each position of the frame comes from in the wide picture, relative to it.

        Args:
            head_flow_2gg: backward flow of the head as a rigid body, in units of the crop's side.
            torso_2: motion of shoulders and chest, right and down, in face widths.
        """
        head = self._extended(np.asarray(head_flow_2gg, np.float64)) * self.crop[2]
        torso = -np.asarray(torso_2, np.float64)[:, None, None] * self.face_width
        moved = self.head_2nn * head + self.torso_2nn * torso
        along_photo = np.einsum("ij,jyx->iyx", self.to_photo_22, moved) * self.edge_2nn
        moved = np.einsum("ji,jyx->iyx", self.to_photo_22, along_photo)
        return np.ascontiguousarray(np.moveaxis(moved, 0, -1), np.float32)

    def __call__(self, frame: Image, head_flow_2gg: Floats, torso_2: Floats, box: Part = _WHOLE) -> Image:
        """The wide picture, or a part of it, with the head moved. Beyond the part its border repeats.

        Args:
            frame: (h, w, C) uint8.
            head_flow_2gg, torso_2: as of `displacement`.
            box: x0, y0 and width of the part.
        """
        height, width = frame.shape[:2]
        scale_px = width / box[2]
        field = self.displacement(head_flow_2gg, torso_2) * np.float32(scale_px)
        is_moving = np.asarray((abs(field) > _STILL_PX).any(-1))
        moving = _to_pixels(is_moving, box, scale_px, (slice(0, height), slice(0, width)), reach=1)
        if _is_empty(moving):
            return frame.copy()
        result = frame.copy()
        sharp = SharpPicture(frame)
        rows, columns = moving
        for top in range(rows.start, rows.stop, _BAND_PX):
            place = slice(top, min(top + _BAND_PX, rows.stop)), columns
            result[place] = sharp.at(_sources(field, box, scale_px, place))
        return result

    def _extended(self, flow_2gg: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, n, n): the head's flow over the wide picture. Beyond the crop its affine part goes on."""
        grid = flow_2gg.shape[-1]
        inside, solve = _affine_fit(grid)
        affine = solve @ flow_2gg.reshape(2, -1).T  # (3, 2)
        rest = (flow_2gg.reshape(2, -1) - (inside @ affine).T).reshape(2, grid, grid)
        x, y = ((centre_array(_GRID) - corner) / self.crop[2] for corner in self.crop[:2])
        columns, rows = (np.clip(axis * grid - 0.5, 0, grid - 1) for axis in (x, y))
        cells_nn2 = np.stack(np.meshgrid(columns, rows), -1).astype(np.float32)
        sampled = cv2.remap(np.moveaxis(rest, 0, -1).astype(np.float32), cells_nn2, None, cv2.INTER_LINEAR)
        constant, along_x, along_y = (part[:, None, None] for part in affine)
        plane = constant + along_x * x + along_y * y[:, None]
        return np.asarray(plane + np.moveaxis(sampled, -1, 0), np.float64)


@lru_cache(maxsize=4)
def _affine_fit(grid: int) -> tuple[Floats, Floats]:
    """(g * g, 3) constant, x and y of each cell, and (3, g * g) the pseudo-inverse."""
    cells = centre_array(grid)
    inside = np.stack([np.ones(grid * grid), np.tile(cells, grid), np.repeat(cells, grid)], 1)
    return inside, np.linalg.pinv(inside)


def _head_and_torso(
    points: Floats, person: NDArray[np.float32], face_width: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n, n) each: the head with its hair, and the rest of the person."""
    face = _face(points)
    is_person = (cv2.resize(person, (_GRID, _GRID), interpolation=cv2.INTER_AREA) > 0.5) | face
    _, labels = cv2.connectedComponents(is_person.astype(np.uint8))
    is_person = labels == np.bincount(labels[face]).argmax()
    x = y = centre_array(_GRID)
    chin = points[152, 1] + _NECK * face_width
    middle = (points[234, 0] + points[454, 0]) / 2
    near = (np.abs(x - middle) < _REACH * face_width)[None] & (y < chin)[:, None]
    is_head = (is_person & near) | face
    return is_head, is_person & ~near


def _face(points: Floats) -> NDArray[np.bool_]:
    """(n, n) the outline of the face, filled."""
    oval = np.round(points[list(FACE_OVAL), :2] * _GRID * 16 - 8).astype(np.int32)
    filled = cv2.fillPoly(np.zeros((_GRID, _GRID), np.uint8), [oval], (1,), shift=4)
    return np.asarray(filled > 0)


def _hair_at_sides(
    is_hair: NDArray[np.bool_],
    is_face: NDArray[np.bool_],
    photo: Box,
    to_photo_22: Floats,
    face_width: float,
) -> tuple[Floats, Floats]:
    """Over which distances motion fades at the edges of the photo, and the part of it that a head has.

    Hair that an edge cuts beside the face is stretched between both: all of it has to take that, and no more
    than a third, or streaks are seen.

    Returns:
        (2, 2) distances, at the edges beside, first and last, and at those above and below; (2,) parts of the
        motion along the photo's rows and columns.
    """
    usual = _EDGE_FADE * face_width
    reaches_22, share_2 = np.full((2, 2), usual), np.ones(2)
    for axis, positions in enumerate(_in_photo(to_photo_22)):
        is_beside = float(to_photo_22[axis, 0] ** 2)  # 1 where the axis is the face's own from side to side
        for side, inward in enumerate((positions - photo[axis], photo[axis + 2] - positions)):
            gap, hair = (float(max(inward[part].min(), 1 / _GRID)) for part in (is_face, is_hair))
            is_cut = is_beside * float(_smooth(np.array(1 - hair / usual))) if hair < gap else 0.0
            reaches_22[axis, side] += is_cut * (gap - usual)
            share = 1 - is_cut * max(1 - gap / (_HAIR_ROOM * face_width), 0)
            share_2[axis] = min(share_2[axis], share)
    return reaches_22, share_2


def _in_photo(to_photo_22: Floats) -> Floats:
    """(2, n, n) the positions of the grid in the photo's axes."""
    positions_2nn = np.stack(np.meshgrid(*2 * (centre_array(_GRID),)))
    return np.asarray(np.einsum("ij,jyx->iyx", to_photo_22, positions_2nn))


def _edges(photo: Box, to_photo_22: Floats, reaches_22: Floats, reach: float) -> NDArray[np.float32]:
    """(2, n, n) 1, falling to 0 at the edges of the photo, and over `reach` at those of the wide picture.

    Args:
        reaches_22: over which distances it falls, as of `_hair_at_sides`.
    """
    inside = [
        np.minimum((positions - photo[axis]) / first, (photo[axis + 2] - positions) / last)
        for axis, (positions, (first, last)) in enumerate(
            zip(_in_photo(to_photo_22), reaches_22, strict=True)
        )
    ]
    here = _in_photo(np.eye(2))
    return _smooth(np.stack(inside)) * _smooth(np.minimum(here, 1 - here).min(0) / reach)


def _distance(box: Box) -> Floats:
    """(n, n) from each position to a box; 0 within it."""
    x = y = centre_array(_GRID)
    gap_x = np.maximum(np.maximum(box[0] - x, x - box[2]), 0)
    gap_y = np.maximum(np.maximum(box[1] - y, y - box[3]), 0)
    return np.hypot(gap_x[None], gap_y[:, None])


def _fade_beside(
    inside: NDArray[np.bool_], reach: float, below_chin_nn: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(2, n, n) as `_fade`, but above the chin `_ACROSS` times as far across a motion as along it.

    So what is upright beside a head that goes sideways moves as a whole and stays nearly straight: door
    frames, and shelves where it nods. Shoulders would go along.
    """
    distances = [distance_transform_edt(~inside, sampling=s) for s in ((1 / _ACROSS, 1), (1, 1 / _ACROSS))]
    beside = _smooth(1 - np.stack(distances) / _GRID / reach)
    return beside + below_chin_nn * (_fade(inside, reach) - beside)


def _fade(inside: NDArray[np.bool_], reach: float) -> NDArray[np.float32]:
    """(n, n) 1 inside, falling to 0 over `reach` outside."""
    if not inside.any():
        return np.zeros((_GRID, _GRID), np.float32)
    return _smooth(1 - distance_transform_edt(~inside) / _GRID / reach)


def _smooth(ramp: Floats) -> NDArray[np.float32]:
    ramp = np.clip(ramp, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _sources(field_nn2: NDArray[np.float32], box: Part, scale_px: float, place: Place) -> NDArray[np.float32]:
    """(h, w, 2): where the pixels of a place in a frame come from, bilinear between the field's cells, px."""
    rows, columns = place
    step = len(field_nn2) / scale_px  # cells for each pixel
    shift = np.array(box[:2]) * len(field_nn2) + step * (np.array([columns.start, rows.start]) + 0.5) - 0.5
    sources = cv2.warpAffine(
        field_nn2,
        np.array([[step, 0, shift[0]], [0, step, shift[1]]]),
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    sources[..., 0] += np.arange(columns.start, columns.stop, dtype=np.float32)
    sources[..., 1] += np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
    return np.asarray(sources, np.float32)


def _to_pixels(
    cells_nn: NDArray[np.bool_], box: Part, scale_px: float, limits: Place, *, reach: int = 0
) -> Place:
    """Rows and columns of a part of the wide picture that hold all cells, within limits; may be empty.

    Args:
        reach: how many cells around them are held, too.
    """
    result = []
    for axis, limit in enumerate(limits):
        cells = np.flatnonzero(cells_nn.any(1 - axis))
        if not len(cells):
            return slice(0, 0), slice(0, 0)
        ends = np.array([cells[0] - reach, cells[-1] + 1 + reach]) / _GRID
        low, high = np.clip((ends - box[1 - axis]) * scale_px, limit.start, limit.stop)
        result.append(slice(int(low), int(high)))
    return result[0], result[1]


def _is_empty(place: Place) -> bool:
    return any(side.start >= side.stop for side in place)
