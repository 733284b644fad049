"""Carries the motion of an articulating mouth onto the landmarks of any face.

The shapes are those of ICT-FaceKit (MIT) as displacements of the landmarks. They are turned as the head is,
and scaled by the width of the face. Lips that meet are no sum of shapes: every face has lips of its own.

Shape letters: F frames, S shapes, L points along a lip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Floats
from openemo.data.visemes import CONTROLS, Articulation
from openemo.errors import TrainingError
from openemo.face.landmarks import (
    INNER_LIPS,
    LEFT_EYE,
    NUM_POINTS,
    OUTER_LIPS,
    RIGHT_EYE,
    face_width_px,
    head_pose,
)
from openemo.rendering.landmark_flow import lower_and_upper_points

__all__ = ["SpeakerStyle", "load_shapes", "speaking_points"]

Shapes = Mapping[str, Doubles]
# What each of `CONTROLS` moves at weight 1; names without a side stand for both.
_MIXTURES: Final[Mapping[str, Mapping[str, float]]] = {
    "jaw": {"jawOpen": 1.0},
    "funnel": {"mouthFunnel": 1.0},
    "pucker": {"mouthPucker": 1.0, "jawForward": 0.2},
    "spread": {"mouthStretch": 0.25, "mouthSmile": 0.75, "cheekSquint": 0.6},
    "lower": {"mouthLowerDown": 1.0},
    "upper": {"mouthUpperUp": 1.0},
}
_SIDED: Final = frozenset({"spread", "lower", "upper"})
_ROLLED, _RAISED = 0.6, 0.25  # of the lower lip and of the upper one where the lower is under the teeth
_TUCKED_GAP: Final = 0.014  # between lower and upper lip then, in face widths
_REST_GAP: Final = 0.006  # of lips that touch; a mouth that is wider open in the picture shuts in a pause
_PRESSED: Final = 0.22  # share of their height that lips lose when pressed
_LOWER_SHARE: Final = 0.7  # of the way to where lips meet
_LOWER_IN, _UPPER_IN = (list(part) for part in lower_and_upper_points(INNER_LIPS))
_LOWER_OUT, _UPPER_OUT = (list(part) for part in lower_and_upper_points(OUTER_LIPS))


@dataclass(frozen=True, slots=True)
class SpeakerStyle:
    """How one person articulates.

    Attributes:
        opening, rounding, spreading: gains.
        one_sided: how much more the left side does than the right, and the right less.
    """

    opening: float = 1.0
    rounding: float = 1.0
    spreading: float = 1.0
    one_sided: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> SpeakerStyle:
        opening, rounding, spreading = np.exp(rng.normal(0, (0.16, 0.14, 0.18)))
        one_sided = float(np.clip(rng.normal(0, 0.1), -0.25, 0.25))
        return cls(float(opening), float(rounding), float(spreading), one_sided)


def load_shapes(path: Path) -> dict[str, Doubles]:
    """(478, 3) displacement in face widths of each shape. Raises TrainingError if the file is damaged."""
    try:
        with np.load(path) as arrays:
            names, moved = arrays["names"].tolist(), np.asarray(arrays["displacement"], np.float64)
        if moved.shape != (len(names), NUM_POINTS, 3) or not np.isfinite(moved).all():
            raise ValueError("its arrays do not belong together")
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TrainingError(
            f"no face shapes can be read from {path}", got=str(error), fix="Give `shapes` of ICT-FaceKit"
        ) from error
    return dict(zip(names, moved, strict=True))


def speaking_points(
    points: Floats, articulation: Articulation, shapes: Shapes, style: SpeakerStyle
) -> NDArray[np.float32]:
    """(F, 478, 2) landmarks of a face that speaks, its head still.

    Args:
        points: (478, 3) landmarks of the face at rest, in any unit.
        shapes: see `load_shapes`.
    """
    pose = head_pose(points)
    # Pitch is left out: the network's has a bias.
    turn = _turn(np.radians(pose.yaw_deg), np.radians(pose.roll_deg))
    width = face_width_px(points) / np.cos(np.radians(pose.yaw_deg))
    weights_FS, chosen = _weights(articulation, shapes, style)
    moved_F = np.tensordot(weights_FS, np.stack([shapes[name] for name in chosen]), 1)
    flat_F = np.asarray(points[:, :2], np.float64) + width * (moved_F @ turn.T)[..., :2]
    close = width * (shapes["mouthClose"] @ turn.T)[:, :2]
    lips = _Lips(np.asarray(points[:, :2], np.float64), close, _down(points), width)
    ways_F = zip(flat_F, articulation.shut_F, articulation.tucked_F, strict=True)
    return np.stack([lips.meet(*way) for way in ways_F]).astype(np.float32)


def _weights(
    articulation: Articulation, shapes: Shapes, style: SpeakerStyle
) -> tuple[Doubles, tuple[str, ...]]:
    """(F, S) weights of shapes, and their names."""
    gains = {"jaw": style.opening, "lower": style.opening, "upper": style.opening}
    gains |= {"funnel": style.rounding, "pucker": style.rounding, "spread": style.spreading}
    columns: dict[str, Doubles] = {}

    def add(name: str, weight_F: Doubles, sides: tuple[float, float]) -> None:
        if name in shapes:
            columns[name] = columns.get(name, 0) + weight_F
        else:
            for side, gain in zip("LR", sides, strict=True):
                columns[f"{name}_{side}"] = columns.get(f"{name}_{side}", 0) + gain * weight_F

    for control_F, control in zip(articulation.controls_FK.T, CONTROLS, strict=True):
        uneven = style.one_sided if control in _SIDED else 0.0
        for name, share in _MIXTURES[control].items():
            add(name, gains[control] * share * control_F, (1 + uneven, 1 - uneven))
    add("mouthRollLower", _ROLLED * articulation.tucked_F, (1, 1))
    add("mouthUpperUp", _RAISED * articulation.tucked_F, (1, 1))
    return np.stack(list(columns.values()), 1), tuple(columns)


def _turn(yaw: float, roll: float) -> Doubles:
    """(3, 3) Rz(roll) Ry(yaw) as `head_pose` defines it."""
    (sy, sr), (cy, cr) = np.sin((yaw, roll)), np.cos((yaw, roll))
    about_y = np.array(((cy, 0, -sy), (0, 1, 0), (sy, 0, cy)))
    return np.asarray(np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1))) @ about_y)


def _down(points: Floats) -> Doubles:
    across = np.asarray(points[LEFT_EYE[0], :2] - points[RIGHT_EYE[0], :2], np.float64)
    across /= np.linalg.norm(across)
    return np.array([-across[1], across[0]])


@dataclass(frozen=True, slots=True, eq=False)
class _Lips:
    """The lips of one face.

    Attributes:
        rest: (478, 2) landmarks. close: (478, 2) what `mouthClose` moves. down: (2,). width: of the face.
    """

    rest: Doubles
    close: Doubles
    down: Doubles
    width: float

    def meet(self, points: Doubles, shut: float, tucked: float) -> Doubles:
        """Points (478, 2) with lips that are as far apart as a hold wants, and never cross."""
        points = points.copy()
        gap_L = self._gaps(points)
        own_L = np.maximum(self._gaps(self.rest) - _REST_GAP * self.width, 0)
        wanted_L = np.maximum(gap_L - own_L, 0) * (1 - max(shut, tucked))
        # At the corners less, as the lips' edge is an arc.
        arc_L = np.sin(np.linspace(0, np.pi, len(gap_L) + 2))[1:-1]
        under_L = np.minimum(_TUCKED_GAP * self.width * arc_L, np.maximum(gap_L, 0) + 0.004 * self.width)
        wanted_L += tucked * (1 - shut) * under_L
        # Most of it with the skin around the lips; the rest brings each pair of points where it has to be.
        reach = float(self._gaps(self.close)[len(gap_L) // 2])
        middle = len(gap_L) // 2
        share = min(max((wanted_L[middle] - gap_L[middle]) / reach, 0.0), 0.6) if reach < 0 else 0.0
        points += share * self.close
        self._bring(points, self._gaps(points) - wanted_L)
        self._press(points, max(shut, 0.0))
        return points

    def _gaps(self, points: Doubles) -> Doubles:
        """(L,) how far lower points are below upper ones."""
        return np.asarray((points[_LOWER_IN] - points[_UPPER_IN]) @ self.down)

    def _bring(self, points: Doubles, missing_L: Doubles) -> None:
        """Moves both lips, in place, together by `missing_L`."""
        for inner, outer, share in (
            (_LOWER_IN, _LOWER_OUT, -_LOWER_SHARE),
            (_UPPER_IN, _UPPER_OUT, 1 - _LOWER_SHARE),
        ):
            shift = share * missing_L[:, None] * self.down
            points[inner] += shift
            points[outer] += shift

    def _press(self, points: Doubles, pressed: float) -> None:
        """Makes lips thinner, in place: their outer edges come nearer to where they meet."""
        for inner, outer in ((_LOWER_IN, _LOWER_OUT), (_UPPER_IN, _UPPER_OUT)):
            height_L = (points[outer] - points[inner]) @ self.down
            points[outer] -= _PRESSED * pressed * height_L[:, None] * self.down
