"""Clips that are the same recording: one person, one sound."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openemo.corpus.sound_print import difference

__all__ = ["find_duplicates"]

_LEAST_VOTES = 2
_MOST_CLIPS = 50  # that share a code; more of them and it says nothing
_LEAST_STEPS = 50  # two seconds that both have


def find_duplicates(
    prints: Sequence[NDArray[np.uint16]], persons: Sequence[int], max_difference: float
) -> dict[int, int]:
    """Number of each clip that is a copy, and of the earlier clip that it is a copy of.

    Copies may be encoded anew and cut elsewhere. Two steps of a fingerprint in a row are a code; clips that
    have codes in common at one shift are compared.

    Args:
        prints: of the clips, see `sound_print`, in the order in which they count.
        persons: two people may be heard in one recording: those are no copies.
    """
    of_person: dict[int, list[int]] = defaultdict(list)
    for number, person in enumerate(persons):
        of_person[person].append(number)
    copies: dict[int, int] = {}
    for numbers in of_person.values():  # the codes of one person are held at a time
        copies |= _copies_among(numbers, prints, max_difference)
    return copies


def _copies_among(
    numbers: Sequence[int], prints: Sequence[NDArray[np.uint16]], max_difference: float
) -> dict[int, int]:
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    copies: dict[int, int] = {}
    for number in numbers:
        print_ = prints[number]
        codes = (print_[:-1].astype(np.int64) << 16 | print_[1:]).tolist()
        votes = Counter(
            (other, place - step)
            for step, code in enumerate(codes)
            if len(found := places.get(code, ())) <= _MOST_CLIPS
            for other, place in found
        )
        for (other, shift), count in votes.most_common(5):
            overlap = min(len(prints[other]), len(print_) + shift) - max(0, shift)
            is_same = count >= _LEAST_VOTES and overlap >= min(_LEAST_STEPS, len(print_))
            if is_same and difference(prints[other], print_, shift) <= max_difference:
                copies[number] = other
                break
        if number not in copies:
            for step, code in enumerate(codes):
                places[code].append((number, step))
    return copies
