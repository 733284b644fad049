"""Whether two people, or one person with two voices, move alike though they should not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles

__all__ = ["PairCorrelation", "TrackCorrelations", "track_correlations"]


@dataclass(frozen=True)
class PairCorrelation:
    """Pearson's r over pairs of videos; NaN without pairs.

    Attributes:
        mean: about 0 for motions that know nothing of each other.
        mean_size: mean of |r|. Smooth tracks of a few seconds have 0.2 to 0.4 by chance.
    """

    mean: float
    mean_size: float
    pairs: int


@dataclass(frozen=True)
class TrackCorrelations:
    """Attributes: one_voice: two people with one voice. one_person: one person with two voices.
    unrelated: two people with two voices: chance, unless the seed alone decides."""

    one_voice: PairCorrelation
    one_person: PairCorrelation
    unrelated: PairCorrelation


def track_correlations(tracks: Mapping[tuple[str, str], Doubles]) -> TrackCorrelations:
    """Correlations between the tracks (F,) of videos of one seed, over the frames that both have.

    Args:
        tracks: by (person, voice). A track that does not move, or has a frame without a face, is left out.
    """
    usable = {key: track for key, track in tracks.items() if np.isfinite(track).all() and np.ptp(track) > 0}
    people = np.array([person for person, _ in usable])
    voices = np.array([voice for _, voice in usable])
    length = min((len(track) for track in usable.values()), default=0)
    rows = np.array([track[:length] for track in usable.values()]).reshape(len(usable), length)
    first, second = np.triu_indices(len(usable), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.corrcoef(rows)[first, second] if len(usable) > 1 else np.zeros(0)
    one_voice, one_person = voices[first] == voices[second], people[first] == people[second]
    return TrackCorrelations(
        _over_pairs(found, one_voice & ~one_person),
        _over_pairs(found, one_person & ~one_voice),
        _over_pairs(found, ~one_person & ~one_voice),
    )


def _over_pairs(found: Doubles, pairs: NDArray[np.bool_]) -> PairCorrelation:
    r = found[pairs & np.isfinite(found)]
    if not len(r):
        return PairCorrelation(float("nan"), float("nan"), 0)
    return PairCorrelation(float(r.mean()), float(np.abs(r).mean()), len(r))
