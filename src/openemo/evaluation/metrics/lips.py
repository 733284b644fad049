"""Lips: the mouth opening of made frames against that of the real clip."""

from __future__ import annotations

from typing import Final

import numpy as np

from openemo.arrays import Doubles, Floats
from openemo.evaluation.alignment import onto
from openemo.evaluation.metrics.frame_statistics import mean, ratio, spread
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import INNER_LIPS, OUTER_LIPS, face_width_px, mouth_opening

__all__ = [
    "best_lag",
    "concordance",
    "correlation",
    "mouth_distance",
    "score_lips",
    "score_silence",
]

_MAX_LAG_FRAMES: Final = 10
_OPEN: Final = 0.02  # opening in face widths


def correlation(made: Doubles, real: Doubles) -> float:
    """Pearson's r over the frames that both have; 0 if one of them does not move."""
    length = min(len(made), len(real))
    a, b = made[:length], real[:length]
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    # Rounding can make the deviation of equal numbers a little more than zero.
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def concordance(made: Doubles, real: Doubles) -> float:
    """Lin's concordance correlation, -1 to 1: 1 only for the same curve (Lin 1989, Eq. 1).

    Pearson's r ignores amplitude. Concordance falls if a mouth moves too little, too much or around another
    opening, and is near 0 for a mouth that hardly moves, whatever its r. NaN if no frame has both.
    """
    length = min(len(made), len(real))
    a, b = made[:length], real[:length]
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if not len(a):
        return float("nan")
    shared = float(((a - a.mean()) * (b - b.mean())).mean())
    total = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    return 2 * shared / total if total else float("nan")


def lagged_correlation(made: Doubles, real: Doubles, lag: int) -> float:
    """Pearson's r of `made`, read `lag` frames later, with `real`."""
    return correlation(made[max(lag, 0) :], real[max(-lag, 0) :])


def best_lag(made: Doubles, real: Doubles) -> int:
    """Shift in frames, within +-10, at which `made` follows `real` best; positive when `made` is late.

    Never more than a third of the clip: over a few frames anything correlates.
    """
    max_lag = min(_MAX_LAG_FRAMES, min(len(made), len(real)) // 3)
    lags = range(-max_lag, max_lag + 1)
    return max(lags, key=lambda lag: (lagged_correlation(made, real, lag), -abs(lag)))


def score_lips(made: Observation, real: Observation) -> dict[str, float]:
    """The mouth against the real one, frame by frame until one of them ends. Both have one frame rate.

    lip_r: Pearson's r of the mouth openings; 0 if one mouth does not move.
    lip_concordance: like r, but amplitude and resting opening count; see `concordance`.
    lip_lag_frames: the shift at which r is largest, positive when the made mouth is late; NaN if one mouth
        does not move. lip_lag_r: r at that shift.
    lmd_mouth: mean distance of the mouth landmarks to the real ones in face widths, after a similarity fit on
        landmarks that speech does not move (Chen et al. 2018, "Lip Movements Generation at a Glance", there
        in pixels and without the fit).
    lip_spread: standard deviation of the opening, in face widths; lip_spread_ratio: over the real clip's.
    """
    ours, theirs = made.curve(mouth_opening), real.curve(mouth_opening)
    ours_spread, theirs_spread = spread(ours), spread(theirs)
    moving = ours_spread > 0 and theirs_spread > 0
    lag = best_lag(ours, theirs)
    seen = moving or (np.isfinite(ours_spread) and np.isfinite(theirs_spread))
    return {
        "lip_r": correlation(ours, theirs) if seen else float("nan"),
        "lip_concordance": concordance(ours, theirs),
        "lip_lag_frames": float(lag) if moving else float("nan"),
        "lip_lag_r": lagged_correlation(ours, theirs, lag) if moving else float("nan"),
        "lmd_mouth": mouth_distance(made.points_px, real.points_px),
        "lip_spread": ours_spread,
        "lip_spread_ratio": ratio(ours_spread, theirs_spread),
    }


def score_silence(silence: Observation) -> dict[str, float]:
    """The mouth during silence. A mouth that babbles in silence can still lead in Sync-C, as Wav2Lip's does.

    silence_opening: mean opening, silence_spread: its standard deviation, both in face widths.
    silence_open_share: share of the frames with an opening over 0.02 face widths.
    """
    opening = silence.curve(mouth_opening)
    seen = np.isfinite(opening)
    return {
        "silence_opening": mean(opening),
        "silence_spread": spread(opening),
        "silence_open_share": ratio(float((opening[seen] > _OPEN).sum()), float(seen.sum())),
    }


def mouth_distance(made_px: Floats, real_px: Floats) -> float:
    """Mean distance of the mouth landmarks in face widths, of (F, 478, 3). NaN if no frame has both faces."""
    mouth = [*OUTER_LIPS, *INNER_LIPS]
    distances = []
    # Only frames that both have. `lost_frames` counts those that the made video lacks.
    for ours, theirs in zip(made_px, real_px, strict=False):
        if np.isfinite(ours).all() and np.isfinite(theirs).all():
            aligned = onto(ours, theirs)(np.asarray(ours[mouth, :2], np.float64))
            gap = np.linalg.norm(aligned - theirs[mouth, :2], axis=-1).mean()
            distances.append(float(gap) / face_width_px(theirs))
    return mean(np.array(distances))
