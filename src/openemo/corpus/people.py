"""Who is in which clip, and which people are held out.

People are found by the mean embedding of each clip's face. Splits share neither people nor source files:
whoever appears in a file with somebody else belongs to the same group, and a group is in one split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["People", "Split", "group_splits"]

Split = Literal["train", "val"]
_ROWS: Final = 4096  # compared at a time


@dataclass(slots=True)
class People:
    """All people so far. Numbers never change: clips that are packed hold them.

    Attributes:
        max_distance: of embeddings that are one person's.
        means: (P, 128) mean embedding of each person. counts: of their clips.
    """

    max_distance: float
    means: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 128)))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def add_known(self, embeddings: NDArray[np.floating], persons: Sequence[int]) -> None:
        """Clips whose person is settled."""
        for embedding, person in zip(embeddings, persons, strict=True):
            self._grow(person + 1)
            self.counts[person] += 1
            self.means[person] += (embedding - self.means[person]) / self.counts[person]

    def assign(self, embeddings: NDArray[np.floating]) -> list[int]:
        """The person of each new clip: the nearest known one, else a new one.

        New clips that are near to each other, or to one in between, are one person. So are two new people
        whose means turn out to be near.
        """
        given = np.asarray(embeddings, np.float64)
        nearest = _nearest(given, self.means, self.max_distance)
        new = np.flatnonzero(nearest < 0)
        if len(new):
            labels = self._clusters(given[new])
            nearest[new] = labels + len(self.means)
        persons = [int(person) for person in nearest]
        self.add_known(given, persons)
        return persons

    def _clusters(self, embeddings: NDArray[np.float64]) -> NDArray[np.int64]:
        """Numbers from 0: leaders in order, then leaders whose means are near are joined."""
        leaders: list[NDArray[np.float64]] = []
        counts: list[int] = []
        labels = np.zeros(len(embeddings), np.int64)
        for index, embedding in enumerate(embeddings):
            distances = np.linalg.norm(np.array(leaders) - embedding, axis=1) if leaders else np.zeros(0)
            if len(distances) and distances.min() <= self.max_distance:
                label = int(distances.argmin())
            else:
                label = len(leaders)
                leaders.append(embedding.copy())
                counts.append(0)
            counts[label] += 1
            leaders[label] += (embedding - leaders[label]) / counts[label]
            labels[index] = label
        _, joined = connected_components(_near(np.array(leaders), self.max_distance), directed=False)
        return np.asarray(joined[labels], np.int64)

    def _grow(self, count: int) -> None:
        more = count - len(self.means)
        if more > 0:
            self.means = np.concatenate([self.means, np.zeros((more, 128))])
            self.counts = np.concatenate([self.counts, np.zeros(more, np.int64)])


def _nearest(
    embeddings: NDArray[np.float64], means: NDArray[np.float64], max_distance: float
) -> NDArray[np.int64]:
    """(N,) number of the nearest mean, -1 where all are farther than `max_distance`."""
    found = np.full(len(embeddings), -1, np.int64)
    for start in range(0, len(embeddings) if len(means) else 0, _ROWS):
        squares = _squares(embeddings[start : start + _ROWS], means)
        best = squares.argmin(1)
        is_near = squares[np.arange(len(best)), best] <= max_distance**2
        found[start : start + _ROWS] = np.where(is_near, best, -1)
    return found


def _near(means: NDArray[np.float64], max_distance: float) -> coo_array:
    """Which means are near each other."""
    pairs = []
    for start in range(0, len(means), _ROWS):
        rows, columns = np.nonzero(_squares(means[start : start + _ROWS], means) <= max_distance**2)
        pairs.append(np.stack([rows + start, columns]))
    rows, columns = np.concatenate(pairs, axis=1)
    return coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(means),) * 2)


def _squares(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.asarray(np.maximum(squares, 0))


def group_splits(
    persons: Sequence[int], sources: Sequence[str], known: Sequence[Split | None], val_share: float
) -> list[Split | None]:
    """The split of each clip; None for a clip that would join people of two splits.

    A new group is drawn by the name of its first source, so that it does not depend on the order of runs.
    One that holds more than `val_share` of all clips is for training.

    Args:
        known: splits of clips that are packed.
    """
    if not persons:
        return []
    num_people = max(persons) + 1
    numbers = {name: number for number, name in enumerate(dict.fromkeys(sources))}
    nodes = np.array([numbers[name] + num_people for name in sources])
    total = num_people + len(numbers)
    edges = coo_array((np.ones(len(nodes)), (np.array(persons), nodes)), shape=(total, total))
    _, labels = connected_components(edges, directed=False)
    groups = [int(labels[person]) for person in persons]
    sizes = Counter(groups)
    settled: dict[int, set[Split]] = {}
    first_source: dict[int, str] = {}
    for group, split, source in zip(groups, known, sources, strict=True):
        first_source[group] = min(source, first_source.get(group, source))
        if split is not None:
            settled.setdefault(group, set()).add(split)
    drawn: dict[int, Split | None] = {}
    for group, size in sizes.items():
        has = settled.get(group, set())
        if len(has) == 1:
            drawn[group] = next(iter(has))
        elif has:
            drawn[group] = None
        else:
            is_val = size <= val_share * len(persons) and _draw(first_source[group]) < val_share
            drawn[group] = "val" if is_val else "train"
    return [drawn[group] if split is None else split for group, split in zip(groups, known, strict=True)]


def _draw(name: str) -> float:
    """A number from 0 to 1 that belongs to a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
