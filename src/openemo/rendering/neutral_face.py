"""Takes a smile out of a portrait, so that it can come and go.

The lips are brought together as in `close_mouth`, then mouth and cheeks go back by a part of what `happy`
moves. Folds beside the nose stay as the photo has them, so a part of the smile stays, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Floats, Image
from openemo.behaviour.expression_shapes import EMOTIONS, expression_displacement
from openemo.face.landmarks import (
    INNER_LIPS,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_EYE,
    STABLE,
    face_width_px,
)
from openemo.rendering.face_patch import FacePatch, Nodes, replace_moved
from openemo.rendering.landmark_flow import FLOW_POINTS

__all__ = ["Smile", "move_face", "read_smile", "relaxing_motion"]

_HAPPY: Final = np.eye(len(EMOTIONS))[EMOTIONS.index("happy")]
# Width of the mouth, and height of its middle below its corners, over the face's width: of ten synthetic
# people at rest, and how much more they are when `happy` is 1.
_REST_WIDTH, _HAPPY_WIDTH = 0.389, 0.082
_REST_CURVE, _HAPPY_CURVE = 0.008, 0.042
# Share of a smile that is taken out, and the most: what `happy` can give back. A mouth without any smile
# looks wrong between deep folds.
_SHARE, _MOST = 0.7, 1.0
# How much higher lips are at rest than when `happy` is 1: shares of the upper and of the lower lip's height.
_FULLER: Final = (0.17, 0.08)
_LOWER_FACE: Final = (0.25, 0.45)  # below the middle of the stable points, over the face's width; fades in
_MAX_CHEEK: Final = 1.5  # how far skin moves down, over the lips' way


@dataclass(frozen=True, slots=True)
class Smile:
    """A smile in strengths of `happy`; below zero for a mouth that is narrower or bent down.

    Attributes:
        width: from the width of the mouth. curve: from how far its corners are up.
        uneven: how much further up the corner on the right of the picture is.
    """

    width: float
    curve: float
    uneven: float = 0.0

    @property
    def strength(self) -> float:
        """Mean of width and curve. One alone may be the shape of the mouth."""
        return (self.width + self.curve) / 2


def read_smile(points: Floats) -> Smile:
    """The smile of a face, from landmarks (478, 2 or more) in any unit and at any roll."""
    face = _upright(points) / face_width_px(points)
    width = float(face[291, 0] - face[61, 0])
    curve = float(face[[13, 14], 1].mean() - face[[61, 291], 1].mean())
    uneven = float(face[61, 1] - face[291, 1])
    return Smile(
        (width - _REST_WIDTH) / _HAPPY_WIDTH, (curve - _REST_CURVE) / _HAPPY_CURVE, uneven / _HAPPY_CURVE
    )


def relaxing_motion(points: Floats, photo: Smile) -> Nodes:
    """Where landmarks (K, 2) of a smiling face are, and where they are without most of the smile.

    Args:
        points: (478, 2 or more). The result has their unit.
        photo: the smile of the photo. Closing the mouth bends lips straight, so some may have to come back.
    """
    upright = _upright(points)
    height = (upright[:, 1] - upright[list(STABLE), 1].mean()) / face_width_px(points)
    start, end = _LOWER_FACE
    happy = expression_displacement(_HAPPY, points) @ _axes(points).T
    happy *= np.clip((height - start) / (end - start), 0, 1)[:, None]
    lips_way = float(happy[[13, 14], 1].mean())
    flat = happy.copy()
    flat[:, 1] = np.maximum(flat[:, 1], _MAX_CHEEK * lips_way)
    flat[[*INNER_LIPS, *OUTER_LIPS], 1] = lips_way
    smile = read_smile(points)
    width = max(smile.width - _kept(photo.width), 0.0)
    curve = smile.curve - _kept(photo.curve)
    # One corner may be higher than the other one.
    middle, half = upright[[61, 291], 0].mean(), np.ptp(upright[[61, 291], 0]) / 2
    side = np.clip((upright[:, 0] - middle) / half, -1, 1)[:, None]
    undone = width * flat + (curve + smile.uneven * _SHARE / 2 * side) * (happy - flat)
    undone[list(OUTER_LIPS)] += min(width, 1.0) * _fuller(upright)
    here = np.asarray(points[:, :2], np.float64)
    return here[FLOW_POINTS], (here - undone @ _axes(points))[FLOW_POINTS]


def _fuller(upright: Floats) -> Floats:
    """(N, 2) by how much the outer edge of each lip lies further outside in a smile, below zero."""
    inner, outer = (upright[list(part), 1] for part in (INNER_LIPS, OUTER_LIPS))
    is_upper = np.arange(len(outer)) > len(outer) // 2
    grown = np.where(is_upper, _FULLER[0], _FULLER[1]) * (inner - outer)
    return np.stack([np.zeros_like(grown), grown], -1)


def _kept(strength: float) -> float:
    return max((1 - _SHARE) * strength, strength - _MOST, 0.0)


def move_face(image: Image, points_px: Floats, nodes: Nodes) -> Image:
    """The picture with points of the face moved; pixels that do not move are the same.

    Args:
        image: (height, width, 3) uint8 RGB. points_px: (478, 2 or more) landmarks, at any roll.
        nodes: in px of the image.
    """
    patch = FacePatch.around(points_px)
    place, positions = patch.positions(image)
    moved = patch.displacement(nodes, positions, in_image=True)
    return replace_moved(image, place, patch.sample(image, positions + moved), np.abs(moved).max(-1))


def _axes(points: Floats) -> Floats:
    """(2, 2) unit vectors to the right and down of the face."""
    across = np.asarray(points[LEFT_EYE[0], :2] - points[RIGHT_EYE[0], :2], np.float64)
    across /= np.linalg.norm(across)
    return np.array([across, [-across[1], across[0]]])


def _upright(points: Floats) -> Floats:
    """(478, 2) in the axes of the face."""
    return np.asarray(points[:, :2] @ _axes(points).T)
