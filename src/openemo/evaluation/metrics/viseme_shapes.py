"""Whether a mouth has the shape of what is said: mean shapes of kinds of sounds, and the nearest target.

Shape letters: F frames, M measures, P sounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Doubles, Floats
from openemo.evaluation.face_tracks import without_head
from openemo.evaluation.metrics.frame_statistics import mean

__all__ = [
    "MEASURES",
    "NearestTargets",
    "mean_shapes",
    "mouth_measures",
    "nearest_target",
    "nearest_targets",
    "rescaled",
    "standardised",
]

MEASURES: Final = ("opening", "width", "corners", "upper lip", "lower lip", "protrusion")
"""Gap of the inner lips, distance of the corners, how far down these are, height of each lip, and how far
the lips are in front of the corners of the eyes."""
_CLOSE: Final = 1e-6


@dataclass(frozen=True)
class NearestTargets:
    """Attributes:
    kinds: names of those that have a shape and a target.
    own_share: of the kinds, those whose shape is nearest to their own target; NaN without kinds.
    nearest: the target that is nearest to each kind's shape.
    """

    kinds: tuple[str, ...]
    own_share: float
    nearest: tuple[str, ...]


def mouth_measures(points_px: Floats) -> Doubles:
    """(F, 6) `MEASURES` of landmarks (F, 478, 3), in face widths, the head's motion taken out.

    Protrusion is read from the depth that the landmark network guesses. NaN in frames without a face.
    """
    still = without_head(points_px)
    upper, lower = still[:, 13], still[:, 14]
    return np.stack(
        [
            np.linalg.norm(lower[:, :2] - upper[:, :2], axis=-1),
            np.linalg.norm(still[:, 291, :2] - still[:, 61, :2], axis=-1),
            still[:, [61, 291], 1].mean(axis=1),
            np.linalg.norm(upper[:, :2] - still[:, 0, :2], axis=-1),
            np.linalg.norm(still[:, 17, :2] - lower[:, :2], axis=-1),
            still[:, [33, 263], 2].mean(axis=1) - still[:, [0, 17], 2].mean(axis=1),
        ],
        axis=1,
    )


def standardised(shapes_FM: Doubles, like_FM: Doubles) -> Doubles:
    """Shapes less the mean of `like`, over its spread: without a person's own mouth and own amplitude."""
    spread_M = np.nanstd(like_FM, axis=0)
    return np.asarray((shapes_FM - np.nanmean(like_FM, axis=0)) / np.where(spread_M > _CLOSE, spread_M, 1.0))


def mean_shapes(shapes_PM: Doubles, kinds: Sequence[str]) -> dict[str, Doubles]:
    """(M,) mean shape of each kind, over its sounds that were seen."""
    named = np.array(kinds)
    seen = np.isfinite(shapes_PM).all(axis=1)
    return {
        kind: shapes_PM[seen & (named == kind)].mean(axis=0) for kind in sorted(set(named[seen].tolist()))
    }


def rescaled(shapes: Mapping[str, Doubles], targets: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """Shapes of kinds with the mean and the spread of their targets: a mouth that does the same, but less.

    What follows the sound loosely has mean shapes that are nearer to each other than the targets are.
    """
    kinds = [kind for kind in shapes if kind in targets]
    if not kinds:
        return {}
    asked_KM = np.stack([targets[kind] for kind in kinds])
    same_KM = standardised(
        np.stack([shapes[kind] for kind in kinds]), np.stack([shapes[kind] for kind in kinds])
    )
    return dict(zip(kinds, same_KM * asked_KM.std(axis=0) + asked_KM.mean(axis=0), strict=True))


def nearest_targets(shapes: Mapping[str, Doubles], targets: Mapping[str, Doubles]) -> NearestTargets:
    """Of each kind of sounds, the target that is nearest to its shape. Chance is one over the targets."""
    kinds = tuple(kind for kind in shapes if kind in targets)
    nearest = tuple(nearest_target(shapes[kind], targets) for kind in kinds)
    own = [kind == found for kind, found in zip(kinds, nearest, strict=True)]
    return NearestTargets(kinds, mean(np.array(own)), nearest)


def nearest_target(shape_M: Doubles, targets: Mapping[str, Doubles]) -> str:
    """Name of the target that is nearest to one shape."""
    return min(targets, key=lambda name: float(np.linalg.norm(shape_M - targets[name])))
