"""Whether a mouth has the shape of what is said: mean shapes of kinds of sounds, and the nearest target.

Shape letters: F frames, M measures, P sounds, K kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Floats
from openemo.evaluation.face_tracks import without_head

__all__ = ["MEASURES", "NearestTargets", "mean_shapes", "mouth_measures", "nearest_targets", "standardised"]

MEASURES: Final = ("opening", "width", "corners", "upper lip", "lower lip", "protrusion")
"""Gap of the inner lips, distance of the corners, how far down these are, height of each lip, and how far
the lips are in front of the corners of the eyes."""
_CLOSE: Final = 1e-6


@dataclass(frozen=True, eq=False)
class NearestTargets:
    """Attributes:
    kinds: names of the K kinds that both have.
    own_share: of the kinds, those whose shape is nearest to their own target.
    nearest_K: index of the target that is nearest to each kind's shape.
    """

    kinds: tuple[str, ...]
    own_share: float
    nearest_K: NDArray[np.int_]


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


def nearest_targets(shapes: Mapping[str, Doubles], targets: Mapping[str, Doubles]) -> NearestTargets:
    """Of each kind of sounds, the target that is nearest to its shape. Chance is 1 / K."""
    kinds = tuple(kind for kind in shapes if kind in targets)
    if not kinds:
        return NearestTargets((), float("nan"), np.zeros(0, np.int_))
    shapes_KM, targets_KM = (np.stack([each[kind] for kind in kinds]) for each in (shapes, targets))
    nearest_K = np.linalg.norm(shapes_KM[:, None] - targets_KM, axis=-1).argmin(axis=1)
    return NearestTargets(kinds, float((nearest_K == np.arange(len(kinds))).mean()), nearest_K)
