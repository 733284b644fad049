"""Ridge regression over clips, read on clips of groups that the fit has not seen.

Shape letters: F frames, K predictors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles
from openemo.evaluation.metrics.frame_statistics import mean

__all__ = ["unseen_correlations"]

_PENALTIES: Final = (1e-3, 1e-2, 1e-1, 1.0)  # per frame, for predictors of spread 1
_UNCHOSEN: Final = 1e-1  # where there are too few folds to choose


def unseen_correlations(
    fitted: Sequence[Doubles], read: Sequence[Doubles], targets: Sequence[Doubles], folds: NDArray[np.int_]
) -> Doubles:
    """(clips,) Pearson's r of each clip's prediction with its target (F,), by a fit to the other folds.

    The penalty is the one that predicts best among the folds of the fit.

    Args:
        fitted: (F, K) of each clip, for the fits. read: the same, for the predictions.
        targets: without frames, a clip takes no part and has NaN.
        folds: (clips,) clips of one number are left out together.
    """
    grams = _Grams(fitted, targets, folds)
    found = np.full(len(targets), np.nan)
    for fold in grams.numbers:
        others = [number for number in grams.numbers if number != fold]
        penalty = _best_penalty(grams, others, fitted, targets, folds)
        members = folds == fold
        found[members] = _correlations(grams.fit(others, penalty), read, targets, members)
    return found


class _Grams:
    """X'X and X'y of each fold: any set of folds is then fitted without reading the clips again."""

    def __init__(
        self, fitted: Sequence[Doubles], targets: Sequence[Doubles], folds: NDArray[np.int_]
    ) -> None:
        self.numbers = [int(number) for number in np.unique(folds)]
        count = fitted[0].shape[1]
        self._squares = {number: np.zeros((count, count)) for number in self.numbers}
        self._products = {number: np.zeros(count) for number in self.numbers}
        self._frames = dict.fromkeys(self.numbers, 0)
        for x, y, number in zip(fitted, targets, folds, strict=True):
            self._squares[int(number)] += x.T @ x
            self._products[int(number)] += x.T @ y
            self._frames[int(number)] += len(y)
        power = np.diag(np.sum(list(self._squares.values()), axis=0)) / max(1, sum(self._frames.values()))
        self._scale = np.sqrt(np.where(power > 0, power, 1.0))

    def fit(self, numbers: Sequence[int], penalty: float) -> Doubles:
        """(K,) weights from these folds."""
        squares = np.sum([self._squares[number] for number in numbers], axis=0)
        products = np.sum([self._products[number] for number in numbers], axis=0)
        frames = max(1, sum(self._frames[number] for number in numbers))
        scaled = squares / np.outer(self._scale, self._scale) + penalty * frames * np.eye(len(products))
        return np.asarray(np.linalg.solve(scaled, products / self._scale) / self._scale)


def _best_penalty(
    grams: _Grams,
    numbers: Sequence[int],
    fitted: Sequence[Doubles],
    targets: Sequence[Doubles],
    folds: NDArray[np.int_],
) -> float:
    if len(numbers) < 2:
        return _UNCHOSEN
    scores = []
    for penalty in _PENALTIES:
        found = [
            _correlations(
                grams.fit([number for number in numbers if number != inner], penalty),
                fitted,
                targets,
                folds == inner,
            )
            for inner in numbers
        ]
        scores.append(mean(np.concatenate(found)))
    return _PENALTIES[int(np.nanargmax(scores))] if np.isfinite(scores).any() else _UNCHOSEN


def _correlations(
    weights: Doubles, read: Sequence[Doubles], targets: Sequence[Doubles], members: NDArray[np.bool_]
) -> Doubles:
    """r of each member; 0 if the prediction is constant, NaN without frames."""
    found = []
    for index in np.flatnonzero(members).tolist():
        target = targets[index]
        predicted = read[index] @ weights
        if len(target) < 2:
            found.append(np.nan)
        elif np.ptp(predicted) == 0:
            found.append(0.0)
        else:
            found.append(np.corrcoef(predicted, target)[0, 1])
    return np.array(found)
