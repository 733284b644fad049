"""Closes a mouth that stands open in the photo: models rest as their reference does, and must rest shut.

Two smooth warps, one of all above the mouth and one of all below it, bring the inner edges of the lips onto
one line; what was between them is gone. Corners and jaw follow. The shares are means over 17 pictures with
the jaw down of ten synthetic people, each beside the same face at rest.

Lengths are px of an upright square patch around the face. Shapes: K nodes, h x w a part of the photo.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np

from openemo.arrays import Floats, Image
from openemo.face.landmarks import (
    BROWS,
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    NOSE,
    OUTER_LIPS,
    RIGHT_EYE,
    face_width_px,
)
from openemo.face.masks import fill_contour
from openemo.rendering.corner_line import CornerLine
from openemo.rendering.face_patch import FacePatch, Nodes, replace_moved
from openemo.rendering.lip_contour import find_lip_contour, find_lip_edges

__all__ = ["MouthPose", "are_lips_apart", "close_mouth", "read_mouth_pose"]

MouthPose = Literal["rest", "open", "full"]
"""Lips that meet, a small gap or teeth in a smile; an open mouth that is dark inside; one that is as wide
open but full, of a tongue that is out."""

# Gaps between the inner lips over the mouth's width. Smiles with teeth reach 0.29, tongues start at 0.43.
_MIN_GAP, _SMILE_GAP, _FULL_GAP = 0.15, 0.25, 0.38
_SEEN_GAP: Final = 0.01
# Share of the gap that is dark: of mouths with the jaw down at least 0.57 where it is a smile's, of tongues
# that are out at most 0.11.
_DARK_SHARES: Final = (0.5, 0.4, 0.2)  # from which a mouth with these gaps is open
_DARK: Final = 0.6  # lightness over that of the lips
_NODES: Final = 25  # along each lip's edge
_REST_WIDTH: Final = 0.375  # of a shut mouth, over the face's
_MAX_WIDENING: Final = 1.2
_LOWER_HEIGHT: Final = 0.92  # of the lower lip of a shut mouth, over that of the open one
# How far points of chin and jaw go with the lower lip's edge.
_JAW: Final = {
    18: 0.97, 200: 0.9, 199: 0.86, 175: 0.82, 152: 0.8, 148: 0.8, 377: 0.8, 176: 0.77, 400: 0.77, 149: 0.7,
    378: 0.7, 150: 0.6, 379: 0.6, 136: 0.5, 365: 0.5, 172: 0.42, 397: 0.42, 58: 0.25, 288: 0.25, 132: 0.1,
    361: 0.1,
}  # fmt: skip
_CHEEKS: Final = (50, 280, 117, 346, 36, 266)
_STILL: Final = tuple(sorted({*FACE_OVAL, *NOSE, *BROWS, *RIGHT_EYE, *LEFT_EYE, *_CHEEKS} - _JAW.keys()))
_NECK: Final = 0.5  # below the chin nothing moves from here on, over the face's width
_CORNERS, _LOWER, _UPPER = [0, 10], list(range(1, 10)), list(range(19, 10, -1))  # of a contour of lips
# Of each lip this height at the edge is cut off with the gap, over the face's width, or a bright edge of
# teeth would stay. At most this share of the lip.
_CUT: Final = (0.006, 0.007)
_MAX_CUT: Final = 0.3
_CUT_FADE: Final = 0.05  # share of the mouth's width, from each corner inwards
# Lengths over the mouth's width.
_LINE_SIGMA: Final = 0.014  # of the dark line where the lips meet
_CORNER_FADE: Final = 0.12  # from each corner inwards it fades in
_LINE: Final = 0.35  # share of brightness that it takes away
_SPREAD: Final = 2.0  # how fast the two warps blend beyond the corners


def read_mouth_pose(image: Image, points_px: Floats) -> MouthPose:
    """Whether lips are so far apart that they would not meet in a video.

    Args:
        image: (height, width, 3) uint8 RGB. points_px: (478, 2 or more) landmarks, at any roll.
    """
    corner, other, top, bottom = (points_px[index, :2] for index in (INNER_LIPS[0], INNER_LIPS[10], 13, 14))
    gap = float(np.linalg.norm(bottom - top)) / max(float(np.linalg.norm(other - corner)), 1e-6)
    if gap < _MIN_GAP:
        return "rest"
    dark = _dark_share(*FacePatch.around(points_px).read(image, points_px))
    if dark >= float(np.interp(gap, (_MIN_GAP, _SMILE_GAP, _FULL_GAP), _DARK_SHARES)):
        return "open"
    return "full" if gap >= _FULL_GAP else "rest"


def are_lips_apart(image: Image, points_px: Floats) -> bool:
    """Whether the picture shows something else between the lips; landmarks mark a gap in full lips, too.

    Args:
        image, points_px: as in `read_mouth_pose`.
    """
    lips = find_lip_contour(*FacePatch.around(points_px).read(image, points_px))
    gap = np.interp(0.5, lips.s, lips.gap_bottom - lips.gap_top)
    return bool(gap > _SEEN_GAP * lips.line.width_px)


def close_mouth(image: Image, points_px: Floats, moved: Nodes | None = None) -> Image:
    """The picture with its mouth shut; pixels that do not move are the same.

    Args:
        image, points_px: as in `read_mouth_pose`.
        moved: points of the closed face, px of the image, and where they are in the result. The two warps
            become one, so that the picture is resampled once.
    """
    patch = FacePatch.around(points_px)
    closing = _Closing.of(*patch.read(image, points_px))
    place, positions = patch.positions(image)
    before = (
        np.zeros_like(positions) if moved is None else patch.displacement(moved, positions, in_image=True)
    )
    closed = positions + before
    is_lower, brightness = closing.sides(closed)
    result = np.zeros((*is_lower.shape, 3), np.float32)
    shift = np.abs(before).max(-1)
    for nodes, weight in ((closing.upper, 1 - is_lower), (closing.lower, is_lower)):
        opened = patch.displacement(nodes, closed)
        result += weight[..., None] * patch.sample(image, closed + opened)
        shift = np.maximum(shift, weight * np.abs(opened).max(-1))
    return replace_moved(image, place, result * brightness[..., None], shift)


def _dark_share(patch: Image, points: Floats) -> float:
    """Share of the gap between the inner lips that is darker than the lips."""
    size = (patch.shape[1], patch.shape[0])
    inside, lips = (fill_contour(points[list(part)], size) > 127 for part in (INNER_LIPS, OUTER_LIPS))
    lightness = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float64)
    lips &= ~inside
    if not inside.any() or not lips.any():
        return 0.0
    return float((lightness[inside] < _DARK * np.median(lightness[lips])).mean())


@dataclass(frozen=True, slots=True)
class _Closing:
    """From the open to the closed face.

    Attributes:
        upper, lower: what the warps above and below the mouth go by.
        line: between the corners of the closed mouth; where the lips meet.
    """

    upper: Nodes
    lower: Nodes
    line: CornerLine

    @classmethod
    def of(cls, patch: Image, points: Floats) -> _Closing:
        inner, outer = points[list(INNER_LIPS)], points[list(OUTER_LIPS)]
        line = CornerLine.between(inner[0], inner[10])
        s = np.linspace(0, 1, _NODES)
        outer_s, outer_t = line.to_line(outer)
        top, bottom = _edges(line, s, inner, outer, face_width_px(points))
        columns, *shifts = find_lip_edges(patch, points)
        top, bottom = (
            edge + np.interp(s, columns, shift) for edge, shift in zip((top, bottom), shifts, strict=True)
        )
        bottom = np.maximum(bottom, top)
        # The upper lip stays: the lips meet, straight from corner to corner, at the middle of its edge.
        meet = float(top[_NODES // 2])
        wider = float(np.clip(_REST_WIDTH * face_width_px(points) / line.width_px, 1, _MAX_WIDENING))

        def place(s: Floats, t: Floats) -> Floats:
            return line.to_pixels(0.5 + (s - 0.5) * wider, t)

        moved = outer_t.copy()
        # Each lip keeps its outline, as high as the lip itself is.
        for part, index, height in ((_UPPER, 13, 1.0), (_LOWER, 14, _LOWER_HEIGHT)):
            edge, far = (float(line.to_line(points[i])[1]) for i in (index, 0 if part is _UPPER else 17))
            if part is _UPPER and edge > 0:
                # In a broad smile this lip hangs between the corners, and only its height is an outline.
                moved[part] -= np.interp(outer_s[part], s, top)
            else:
                moved[part] *= height * (far - edge) / (far if abs(far) > 1 else np.copysign(1, far))
        moved += meet
        target = place(outer_s, moved)
        jaw = points[list(_JAW)]
        jaw_shift = np.array(list(_JAW.values()))[:, None] * (meet - bottom[_NODES // 2]) * line.down
        still = np.concatenate([points[list(_STILL)], _shoulders(points)])
        closed = place(s, np.full(_NODES, meet))

        def nodes(edge: Floats, part: list[int]) -> Nodes:
            here, there = [*_CORNERS, *part], line.to_pixels(s, edge)
            return (
                np.concatenate([still, jaw, outer[here], there]),
                np.concatenate([still, jaw + jaw_shift, target[here], closed]),
            )

        return cls(nodes(top, _UPPER), nodes(bottom, _LOWER), CornerLine.between(closed[0], closed[-1]))

    def sides(self, positions: Floats) -> tuple[Floats, Floats]:
        """How far positions (h, w, 2) lie below the mouth, (h, w) in [0, 1], and a factor on brightness that
        draws the dark line between the lips."""
        s, t = self.line.to_line(positions)
        width = self.line.width_px
        outside = np.maximum(np.maximum(-s, s - 1), 0) * width
        fade = np.clip(np.minimum(s, 1 - s) / _CORNER_FADE, 0, 1)
        line = fade * np.exp(-0.5 * (t / (_LINE_SIGMA * width)) ** 2)
        return np.clip(0.5 + t / (1 + _SPREAD * outside), 0, 1), 1 - _LINE * line


def _shoulders(points: Floats) -> Floats:
    """(5, 2): a row below the chin that does not move, so that only the neck is stretched."""
    width = face_width_px(points)
    return np.asarray(points[152] + width * np.stack([np.linspace(-1, 1, 5), np.full(5, _NECK)], -1))


def _edges(line: CornerLine, s: Floats, inner: Floats, outer: Floats, width: float) -> tuple[Floats, Floats]:
    """Edges (K,) of upper and lower lip, below the line, after the cut."""
    fade = np.clip(np.minimum(s, 1 - s) / _CUT_FADE, 0, 1)
    edges = []
    for part, cut, sign in ((_UPPER, _CUT[0], -1), (_LOWER, _CUT[1], 1)):
        edge, far = (np.interp(s, *line.curve(contour[[*_CORNERS, *part]])) for contour in (inner, outer))
        height = np.minimum(cut * width, _MAX_CUT * np.maximum(sign * (far - edge), 0))
        edges.append(edge + sign * fade * height)
    return edges[0], np.maximum(edges[1], edges[0])
