"""Does the person live? Blinks, head motion and expression, each to be read beside the real clip's."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.evaluation.numbers import mean, percentile_range
from openemo.evaluation.observation import Observation
from openemo.face.geometry import eye_opening, head_pose

__all__ = ["count_blinks", "head_angles_deg", "score_life"]

Floats = NDArray[np.floating]
Curve = NDArray[np.float64]

_SHUT: Final = 0.6  # of the eye's usual opening
_REOPENED: Final = 0.75
_MAX_BLINK_S: Final = 0.6
_SMOOTHING_S: Final = 0.2


def score_life(made: Observation) -> dict[str, float]:
    """How the person moves beside the mouth.

    blinks_per_min: by `count_blinks`. Speakers blink 15 to 30 times a minute: a clip of three seconds has one
        or none, so only a mean over many clips says anything.
    head_yaw_range_deg, head_pitch_range_deg, head_roll_range_deg: from the 5th to the 95th percentile.
    head_speed_deg_s: mean length of the change of (yaw, pitch, roll) per second, smoothed over 0.2 s.
    expression_spread: standard deviation over time of each blendshape, "neutral" left out, then their mean.
    """
    yaw, pitch, roll = (percentile_range(angles) for angles in head_angles_deg(made).T)
    return {
        "blinks_per_min": blinks_per_min(made),
        "head_yaw_range_deg": yaw,
        "head_pitch_range_deg": pitch,
        "head_roll_range_deg": roll,
        "head_speed_deg_s": head_speed_deg_s(head_angles_deg(made), made.fps),
        "expression_spread": expression_spread(made.blendshapes),
    }


def blinks_per_min(observation: Observation) -> float:
    """NaN where no frame has a face."""
    opening = observation.curve(lambda points: float(np.mean(eye_opening(points))))
    seconds = float(np.isfinite(opening).sum()) / observation.fps
    return count_blinks(opening, observation.fps) * 60 / seconds if seconds else float("nan")


def count_blinks(opening: Curve, fps: float) -> int:
    """Closures of at most 0.6 s of a curve of eye openings (Soukupova and Cech 2016, with a threshold of its
    own).

    The eye is shut below 0.6 of its median opening, and open again above 0.75 of it: people's eyes differ
    more than a fixed threshold allows, and one that waits at the threshold blinks once. Frames without a face
    are passed over.
    """
    seen = opening[np.isfinite(opening)]
    if not len(seen):
        return 0
    usual = float(np.median(seen))
    blinks = 0
    shut_frames = 0
    for value in seen:
        if value < _SHUT * usual or (shut_frames and value < _REOPENED * usual):
            shut_frames += 1
        else:
            blinks += 0 < shut_frames <= round(_MAX_BLINK_S * fps)
            shut_frames = 0
    return blinks


def head_angles_deg(observation: Observation) -> Curve:
    """(F, 3) yaw, pitch, roll in degrees; NaN in frames without a face."""
    angles = np.full((len(observation), 3), np.nan)
    for index in np.flatnonzero(observation.has_face):
        pose = head_pose(observation.points_px[index])
        angles[index] = pose.yaw_deg, pose.pitch_deg, pose.roll_deg
    return angles


def head_speed_deg_s(angles_deg: Curve, fps: float) -> float:
    """Mean speed of (F, 3) angles; smoothed first, because the landmarks' jitter would be most of it."""
    window = max(1, round(_SMOOTHING_S * fps))
    if len(angles_deg) <= window:
        return float("nan")
    kernel = np.ones(window) / window
    smooth = np.stack([np.convolve(axis, kernel, "valid") for axis in angles_deg.T], axis=1)
    return mean(np.linalg.norm(np.diff(smooth, axis=0), axis=1) * fps)


def expression_spread(blendshapes: Floats) -> float:
    """Mean over the blendshapes 1 to 51 of their standard deviation over time. (F, 52) in [0, 1]."""
    seen = blendshapes[np.isfinite(blendshapes).all(axis=1), 1:]
    return float(seen.std(axis=0, dtype=np.float64).mean()) if len(seen) else float("nan")
