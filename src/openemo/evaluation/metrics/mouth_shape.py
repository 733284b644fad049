"""The mouth beside the real one: width, corners, jaw, and whether it shuts when the real one does."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles
from openemo.evaluation.face_tracks import face_tracks
from openemo.evaluation.metrics.frame_statistics import ratio, spread
from openemo.evaluation.metrics.lips import correlation
from openemo.evaluation.observation import Observation

__all__ = ["ClosureCounts", "count_closures", "find_closures", "score_mouth_shape"]

# Openings in face widths; lips that touch are seen as up to 0.012 apart.
_SHUT: Final = 0.012
_OPEN: Final = 0.02
_APART_S: Final = 0.12  # between two closures
_TOLERANCE_S: Final = 0.08


def score_mouth_shape(made: Observation, real: Observation) -> dict[str, float]:
    """The mouth against the real one, frame by frame until one of them ends. Both have one frame rate.

    mouth_width_r, mouth_corner_r, jaw_r: Pearson's r; 0 if one of both does not move.
    mouth_width_spread_ratio: standard deviation of the width over the real clip's.
    closure_share: of the real mouth's closures, those at which the made mouth shuts too, within 0.08 s; NaN
        without closures. false_closure_share: of the made mouth's closures, those at which the real mouth is
        open all of that time; 0 without closures.
    """
    ours, theirs = (face_tracks(clip.points_px, clip.fps) for clip in (made, real))
    pairs = {
        "mouth_width_r": (ours.mouth_width_F, theirs.mouth_width_F),
        "mouth_corner_r": (ours.corners_F, theirs.corners_F),
        "jaw_r": (ours.jaw_F, theirs.jaw_F),
    }
    figures = {
        key: correlation(*pair) if np.isfinite([spread(curve) for curve in pair]).all() else float("nan")
        for key, pair in pairs.items()
    }
    opening, real_opening = ours.mouth_opening_F, theirs.mouth_opening_F
    closures = count_closures(opening, real_opening, real.fps)
    seen = bool(np.isfinite(opening).any() and np.isfinite(real_opening).any())
    return figures | {
        "mouth_width_spread_ratio": ratio(spread(ours.mouth_width_F), spread(theirs.mouth_width_F)),
        "closure_share": closures.share if seen else float("nan"),
        "false_closure_share": closures.false_share if seen else float("nan"),
    }


class ClosureCounts(NamedTuple):
    """Closures of one clip, or of several together: numbers add up, shares do not.

    Attributes:
        wanted: of the real mouth. shut: those at which the made mouth shuts too.
        found: of the made mouth. false: those at which the real mouth is open all the time.
    """

    wanted: int
    shut: int
    found: int
    false: int

    @property
    def share(self) -> float:
        return ratio(float(self.shut), float(self.wanted))

    @property
    def false_share(self) -> float:
        return self.false / max(self.found, 1)


def count_closures(opening: Doubles, real_opening: Doubles, fps: float) -> ClosureCounts:
    """Closures of a made mouth beside those of the real one, within 0.08 s, until one of both ends.

    Args:
        opening, real_opening: (F,) in face widths; NaN without a face.
    """
    shuts = _least(opening, fps) < _SHUT
    is_open = _least(real_opening, fps) > _OPEN
    length = min(len(opening), len(real_opening))
    wanted, found = find_closures(real_opening, fps), find_closures(opening, fps)
    wanted, found = wanted[wanted < length], found[found < length]
    return ClosureCounts(len(wanted), int(shuts[wanted].sum()), len(found), int(is_open[found].sum()))


def find_closures(opening: Doubles, fps: float) -> NDArray[np.int_]:
    """Frames in which a mouth that was open is most shut: under 0.012 face widths, 0.12 s apart.

    Args:
        opening: (F,) in face widths; NaN without a face.
    """
    reach = max(1, round(_APART_S * fps))
    filled = np.where(np.isfinite(opening), opening, np.inf)
    padded = np.pad(filled, reach, constant_values=np.inf)
    least = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).min(axis=1)
    low = np.flatnonzero((filled < _SHUT) & (filled == least))
    first = np.diff(low, prepend=-reach - 1) > reach
    return np.asarray(low[first], np.int_)


def _least(opening: Doubles, fps: float) -> Doubles:
    """(F,) least opening within the tolerance; infinite where no frame has a face."""
    reach = max(1, round(_TOLERANCE_S * fps))
    filled = np.pad(np.where(np.isfinite(opening), opening, np.inf), reach, constant_values=np.inf)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(filled, 2 * reach + 1).min(axis=1))
