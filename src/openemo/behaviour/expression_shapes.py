"""How the 478 landmarks move in an emotion, and when the brows rise.

`openemo.data.mean_expressions` made the displacements that ship with the package. They are those of a face
seen from the front; they are turned and scaled to the face at hand, and the lids to the height of its eyes.

Shape letters: E emotions, in the order of `EMOTIONS`.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from openemo.array_files import ArrayKind, read_arrays
from openemo.arrays import Floats
from openemo.behaviour.tracks import EMOTIONS
from openemo.errors import CheckpointError
from openemo.face.landmarks import LEFT_EYE, NUM_POINTS, RIGHT_EYE, face_width_px

__all__ = ["EMOTIONS", "EYES", "EyeContour", "brow_displacement", "expression_displacement", "eye_gaps"]

_FILE: Final = "expressions.npz"


class EyeContour(NamedTuple):
    """Indices of an eye's lower lid and of the points of the upper lid that face them; without corners."""

    lower: list[int]
    upper: list[int]


EYES: Final = tuple(EyeContour(list(contour[1:8]), list(contour[:8:-1])) for contour in (RIGHT_EYE, LEFT_EYE))


class _Displacements(NamedTuple):
    """In face widths of an upright face.

    Attributes:
        emotions: (E, 478, 2) as they look in a face that does not speak.
        speaking: (E, 478, 2) the same with lips that meet.
        brows: (2, 478, 2) both brows one face width up; one face width down.
        eye_gap: (1,) height of the open eye that these displacements are for.
    """

    emotions: Floats
    speaking: Floats
    brows: Floats
    eye_gap: Floats


def expression_displacement(strengths_E: Floats, points: Floats, *, speaks: bool = True) -> Floats:
    """(478, 2): how the landmarks of a neutral face move in a mixture of emotions, in the unit of `points`.

    It is linear in the strengths. The irises stay: gaze is a track of its own.

    Args:
        strengths_E: 0 is none, 1 plain to see.
        points: (478, 2 or more) landmarks of the face, at any scale and roll.
        speaks: the lips keep their distance, which speech decides. False moves them as a silent face would,
            which opens the mouth of some emotions.
    """
    known = _displacements()
    shapes = known.speaking if speaks else known.emotions
    return _on_face(np.tensordot(np.asarray(strengths_E, np.float64), shapes, 1), points)


def brow_displacement(raised: float, points: Floats) -> Floats:
    """(478, 2): how the landmarks move when both brows rise, in the unit of `points`.

    Args:
        raised: mean way of the landmarks `BROWS` upwards, in face widths; below zero the brows are lowered.
        points: as in `expression_displacement`.
    """
    up, down = _displacements().brows
    return _on_face(max(raised, 0.0) * up + max(-raised, 0.0) * down, points)


def eye_gaps(points: Floats) -> Floats:
    """(2,): height of the right and the left eye, a mean along the lids, over the face's width."""
    heights = [np.linalg.norm(points[eye.lower, :2] - points[eye.upper, :2], axis=1).mean() for eye in EYES]
    return np.array(heights) / face_width_px(points)


def _on_face(displacement: Floats, points: Floats) -> Floats:
    """A displacement in face widths of an upright face, for this face."""
    displacement = displacement.copy()
    for eye, gap in zip(EYES, eye_gaps(points), strict=True):
        # Otherwise lids of small eyes would cross, and large eyes would hardly widen.
        closing = displacement[eye.upper] - displacement[eye.lower]
        displacement[eye.upper] = displacement[eye.lower] + closing * (gap / _displacements().eye_gap)
    across = np.asarray(points[LEFT_EYE[0], :2] - points[RIGHT_EYE[0], :2], np.float64)
    across /= np.linalg.norm(across)
    upright = np.array([across, [-across[1], across[0]]])
    return np.asarray(face_width_px(points) * displacement @ upright)


@cache
def _displacements() -> _Displacements:
    shape = (NUM_POINTS, 2)
    kinds = {
        "emotions": ArrayKind(np.float16, (len(EMOTIONS), *shape)),
        "speaking": ArrayKind(np.float16, (len(EMOTIONS), *shape)),
        "brows": ArrayKind(np.float16, (2, *shape)),
        "eye_gap": ArrayKind(np.float16, (1,)),
    }
    path = Path(str(files("openemo") / "assets" / _FILE))
    arrays = read_arrays(path, kinds, error=CheckpointError)
    return _Displacements(**{name: array.astype(np.float64) for name, array in arrays.items()})
