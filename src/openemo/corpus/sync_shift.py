"""By how much the sound of a file is late or early, found by our own synchronisation network.

The offset is one of the file, so all clips of a stretch are asked together. Each gives a curve: how far
mouth and sound are apart at each shift of -15 to 15 frames, see `shift_distances`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.evaluation.metrics.sync_own import MAX_SHIFT_FRAMES

__all__ = ["InStep", "in_step", "shift_of_clips", "sync_curve"]

_SURE: Final = 0.1
"""How much a curve's least must be under its median for its place to count."""
_BARELY: Final = 0.5
"""A clip that fits this well where it is, over how well it fits at its best, is left where it is."""


@dataclass(frozen=True, slots=True)
class InStep:
    """How a clip's mouth and sound go together.

    Attributes:
        score: how much nearer they are in step than at other shifts; about 0 for somebody who is silent.
        confidence: the same at the clip's own best shift.
        remaining_frames: from the shift of the file to the clip's own; None where the clip cannot say.
    """

    score: float
    confidence: float
    remaining_frames: int | None


def sync_curve(distances: Doubles) -> Doubles | None:
    """(31,) mean distances of a clip at each shift, from `shift_distances`; None where there is none."""
    return np.asarray(np.nanmean(distances, axis=(0, 1)), np.float64) if len(distances) else None


def shift_of_clips(curves: Sequence[Doubles | None]) -> int:
    """Frames by which the picture is late, of 1/25 s; negative when it is early, 0 where nobody can say."""
    sure = [curve for curve in curves if curve is not None and _depth(curve) >= _SURE]
    if not sure:
        return 0
    pooled = np.asarray(np.mean([(curve - np.median(curve)) for curve in sure], axis=0), np.float64)
    return _best(pooled, 0) if _depth(pooled) >= _SURE else 0


def in_step(curve: Doubles | None, shift_frames: int) -> InStep:
    """How a clip fits once the shift of its file is taken out."""
    if curve is None:
        return InStep(0.0, 0.0, None)
    depth = _depth(curve)
    remaining = _best(curve, shift_frames) - shift_frames if depth >= _SURE else None
    return InStep(_depth_at(curve, shift_frames), depth, remaining)


def _best(curve: Doubles, usual: int) -> int:
    """The shift of the least distance, or the usual one where that is nearly as good: short clips err."""
    if _depth_at(curve, usual) >= _BARELY * _depth(curve):
        return usual
    return MAX_SHIFT_FRAMES - int(curve.argmin())


def _depth_at(curve: Doubles, shift_frames: int) -> float:
    return float(np.median(curve) - curve[MAX_SHIFT_FRAMES - shift_frames])


def _depth(curve: Doubles) -> float:
    return float(np.median(curve) - curve.min())
