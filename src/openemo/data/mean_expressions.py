"""Makes `assets/expressions.npz`: the mean displacements of landmarks in emotions and with raised brows.

    python -m openemo.data.mean_expressions LANDMARKS.npz ICT_BASIS.npz OUTPUT.npz

LANDMARKS has arrays (478, 3), px, of people in emotions: `P001_Neutral`, `P001_Happy` and so on. ICT_BASIS
has the shapes of ICT-FaceKit: `names` (S,) and `displacement` (S, 478, 3) in face widths.
`benchmarks/expressions.py` then fits the array "speaking" to what a portrait shows of it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from openemo.arrays import Floats
from openemo.behaviour.expression_shapes import EMOTIONS, eye_gaps
from openemo.face.landmarks import (
    BROWS,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_IRIS,
    LIDS,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_IRIS,
    STABLE,
    face_width_px,
)
from openemo.files import whole_file

__all__ = ["mean_displacements", "mirrored_points", "symmetric", "upright"]

# What the pictures are called for each of `EMOTIONS`.
_NAMES: Final = ("Happy", "Sad", "Angry", "Surprised", "Disgusted", "Scared", "Smug")
_ASYMMETRIC: Final = frozenset({"smug"})
# Emphasis of each of `EMOTIONS` while speaking, above and below the nose: brows and eyes tell it, and speech
# has the mouth. Above, because a warp of a portrait reaches 0.4 to 0.75 of what it is asked for.
_UPPER: Final = (1.3, 1.6, 1.3, 1.3, 1.2, 1.4, 1.6)
_LOWER: Final = (0.6, 0.8, 0.8, 0.5, 0.6, 0.6, 0.8)
# Brows and eyes of these pairs are alike; the first of each goes this much farther away from the second.
_ALIKE: Final = (("angry", "disgusted"), ("afraid", "surprised"))
_CONTRAST: Final = 0.5
# Between these heights below the middle of the stable points, over the face's width, the one passes into the
# other: the lower lids, and the upper lip.
_UPPER_END, _LOWER_START = 0.25, 0.55
_CREASE: Final = 0.5  # of its motion under a raised brow: otherwise it would fold the lid of a hooded eye
Arrays = Mapping[str, NDArray[Any]]


def mean_displacements(landmarks: Arrays, basis: Arrays) -> dict[str, NDArray[np.float16]]:
    """The arrays that `openemo.behaviour.expression_shapes` reads."""
    people = sorted({name.split("_")[0] for name in landmarks})
    faces = {name: np.asarray(points, np.float64) for name, points in landmarks.items()}
    mirror = mirrored_points(np.mean([upright(face) for face in faces.values()], 0))
    neutral = symmetric(np.mean([upright(faces[f"{person}_Neutral"])[:, :2] for person in people], 0), mirror)
    emotions = np.stack(
        [
            _mean_emotion(
                [(faces[f"{person}_Neutral"], faces[f"{person}_{name}"]) for person in people],
                mirror,
                is_symmetric=emotion not in _ASYMMETRIC,
            )
            for emotion, name in zip(EMOTIONS, _NAMES, strict=True)
        ]
    )
    shapes = dict(zip(basis["names"], np.asarray(basis["displacement"][..., :2], np.float64), strict=True))
    jaw_open = symmetric(shapes["jawOpen"], mirror)
    arrays = {
        "emotions": emotions,
        "speaking": _emphasised(
            np.stack([_with_lips_that_meet(one, jaw_open) for one in emotions]),
            (neutral + neutral[mirror]) / 2,
        ),
        "brows": np.stack(
            [
                _brows(shapes, ("browInnerUp", "browOuterUp"), -1.0, mirror),
                _brows(shapes, ("browDown",), 1.0, mirror),
            ]
        ),
        "eye_gap": eye_gaps(neutral).mean(keepdims=True),
    }
    return {name: array.astype(np.float16) for name, array in arrays.items()}


def mirrored_points(face: Floats) -> NDArray[np.int64]:
    """(478,): for each landmark the one on the other side. `face` (478, 3) is upright, its lips are apart."""
    centred = face - np.array([face[[234, 454], 0].mean(), 0, 0])
    return np.asarray(linear_sum_assignment(cdist(centred * [-1, 1, 1], centred) ** 2)[1], np.int64)


def upright(face: Floats, reference: Floats | None = None) -> Floats:
    """Landmarks (478, 3) in face widths of the reference, upright, from the middle of its stable points."""
    reference = face if reference is None else reference
    across = reference[LEFT_EYE[0], :2] - reference[RIGHT_EYE[0], :2]
    x, y = across / np.linalg.norm(across)
    turn = np.array([[x, -y, 0], [y, x, 0], [0, 0, 1]])
    return np.asarray((face - reference[list(STABLE)].mean(0)) @ turn / face_width_px(reference))


def _mean_emotion(
    pairs: list[tuple[Floats, Floats]], mirror: NDArray[np.int64], *, is_symmetric: bool
) -> Floats:
    """(478, 2) from (neutral, emotion) of each person."""
    people = []
    for neutral, emotion in pairs:
        start = upright(neutral)
        people.append((_without_head_motion(upright(emotion, neutral), start) - start)[:, :2])
    mean = np.mean(people, 0)
    if is_symmetric:
        mean = symmetric(mean, mirror)
    else:
        # One sided faces are one sided to the left or to the right; they are brought to the same side.
        uneven = mean - _mirrored(mean, mirror)
        flips = [float((uneven * (one - _mirrored(one, mirror))).sum()) < 0 for one in people]
        mean = np.mean(
            [_mirrored(one, mirror) if flip else one for one, flip in zip(people, flips, strict=True)], 0
        )
    mean[[*RIGHT_IRIS, *LEFT_IRIS]] = 0
    return np.asarray(mean)


def _mirrored(displacement: Floats, mirror: NDArray[np.int64]) -> Floats:
    return np.asarray(displacement[mirror] * [-1, 1])


def symmetric(displacement: Floats, mirror: NDArray[np.int64]) -> Floats:
    """The mean of a displacement (478, 2) and its mirror image."""
    return np.asarray((displacement + _mirrored(displacement, mirror)) / 2)


def _without_head_motion(face: Floats, target: Floats) -> Floats:
    """Landmarks (478, 3), turned, scaled and shifted so that the stable ones fit (Umeyama 1991)."""
    stable = list(STABLE)
    a, b = face[stable] - face[stable].mean(0), target[stable] - target[stable].mean(0)
    left, power, right = np.linalg.svd(b.T @ a)
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((power * signs).sum() / (a**2).sum())
    return np.asarray(scale * (face - face[stable].mean(0)) @ rotation.T + target[stable].mean(0))


def _with_lips_that_meet(displacement: Floats, jaw_open: Floats) -> Floats:
    """The displacement without the jaw's part in opening the mouth, and what is left between the lips."""

    def gap(shape: Floats) -> float:
        return float(shape[14, 1] - shape[13, 1])

    def drop(shape: Floats) -> float:
        return float(shape[152, 1])

    # A snarl parts the lips with the jaw shut.
    opened = max(min(gap(displacement) / gap(jaw_open), drop(displacement) / drop(jaw_open)), 0.0)
    closed = displacement - opened * jaw_open
    inner, outer = np.array(INNER_LIPS), np.array(OUTER_LIPS)
    lower, upper = np.arange(1, 10), np.arange(19, 10, -1)
    apart = closed[inner[lower]] - closed[inner[upper]]
    for part, share in ((lower, -0.5), (upper, 0.5)):
        closed[inner[part]] += share * apart
        closed[outer[part]] += share * apart
    return closed


def _emphasised(speaking: Floats, neutral: Floats) -> Floats:
    """(E, 478, 2) with `_UPPER`, `_LOWER` and `_CONTRAST`."""
    lower = np.clip((neutral[:, 1] - _UPPER_END) / (_LOWER_START - _UPPER_END), 0, 1)
    gain = np.array(_UPPER)[:, None] * (1 - lower) + np.array(_LOWER)[:, None] * lower
    strong = speaking * gain[..., None]
    result = strong.copy()
    for name, other in _ALIKE:
        here, there = EMOTIONS.index(name), EMOTIONS.index(other)
        result[here] += _CONTRAST * (1 - lower)[:, None] * (strong[here] - strong[there])
    return np.asarray(result)


def _brows(
    shapes: Mapping[str, Floats], names: tuple[str, ...], down: float, mirror: NDArray[np.int64]
) -> Floats:
    """(478, 2): a sum of shapes on both sides that moves the brows by `down` face widths in the mean."""
    total = symmetric(np.sum([shapes[f"{name}_{side}"] for name in names for side in "LR"], 0), mirror)
    total[[*LIDS[:8], *LIDS[16:24]]] *= _CREASE
    return np.asarray(total * down / total[list(BROWS), 1].mean())


def main(landmarks: Path, basis: Path, output: Path) -> None:
    """Reads the two files and writes the third."""
    with np.load(landmarks) as people, np.load(basis) as shapes:
        arrays = mean_displacements(dict(people), dict(shapes))
    with whole_file(output) as file:
        np.savez(file, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
