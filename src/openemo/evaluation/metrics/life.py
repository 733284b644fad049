"""Liveliness: blinks, head motion and expression. Read each beside the real clip's figure."""

from __future__ import annotations

from typing import Final

import numpy as np

from openemo.arrays import Doubles, Floats
from openemo.evaluation.metrics.frame_statistics import mean, percentile_range
from openemo.evaluation.observation import Observation
from openemo.face.landmarks import eye_opening, head_pose

__all__ = ["count_blinks", "head_angles_deg", "score_life"]


_SHUT: Final = 0.6  # of the eye's median opening
_REOPENED: Final = 0.75
_MAX_BLINK_S: Final = 0.6
_SMOOTHING_S: Final = 0.2


def score_life(made: Observation) -> dict[str, float]:
    """Motion of the person apart from the mouth.

    blinks_per_min: by `count_blinks`. Speakers blink 15 to 30 times a minute. A clip of three seconds has one
        blink or none, so only a mean over many clips is meaningful.
    head_yaw_range_deg, head_pitch_range_deg, head_roll_range_deg: from the 5th to the 95th percentile.
    head_speed_deg_s: mean length of the change of (yaw, pitch, roll) per second, smoothed over 0.2 s.
    expression_spread: mean over the blendshapes, without "neutral", of their standard deviation over time.
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
    """Blinks per minute of the frames with a face; NaN if there are none."""
    opening = observation.curve(lambda points: float(np.mean(eye_opening(points))))
    seconds = float(np.isfinite(opening).sum()) / observation.fps
    return count_blinks(opening, observation.fps) * 60 / seconds if seconds else float("nan")


def count_blinks(opening: Doubles, fps: float) -> int:
    """Number of closures of at most 0.6 s in a curve of eye openings (after Soukupova and Cech 2016).

    The eye is shut below 0.6 of its median opening, because eyes differ too much for one fixed threshold. It
    is open again above 0.75 of the median, so an eye that trembles at the threshold blinks once. Frames
    without a face are skipped.
    """
    seen = opening[np.isfinite(opening)]
    if not len(seen):
        return 0
    median = float(np.median(seen))
    blinks = 0
    shut_frames = 0
    for value in seen:
        if value < _SHUT * median or (shut_frames and value < _REOPENED * median):
            shut_frames += 1
        else:
            blinks += 0 < shut_frames <= round(_MAX_BLINK_S * fps)
            shut_frames = 0
    return blinks


def head_angles_deg(observation: Observation) -> Doubles:
    """(F, 3) yaw, pitch, roll in degrees; NaN in frames without a face."""
    angles = np.full((len(observation), 3), np.nan)
    for index in np.flatnonzero(observation.has_face):
        pose = head_pose(observation.points_px[index])
        angles[index] = pose.yaw_deg, pose.pitch_deg, pose.roll_deg
    return angles


def head_speed_deg_s(angles_deg: Doubles, fps: float) -> float:
    """Mean speed of (F, 3) angles. They are smoothed first, because most of it would be landmark jitter."""
    window = max(1, round(_SMOOTHING_S * fps))
    if len(angles_deg) <= window:
        return float("nan")
    kernel = np.ones(window) / window
    smooth = np.stack([np.convolve(axis, kernel, "valid") for axis in angles_deg.T], axis=1)
    return mean(np.linalg.norm(np.diff(smooth, axis=0), axis=1) * fps)


def expression_spread(blendshapes: Floats) -> float:
    """Mean over blendshapes 1 to 51 of their standard deviation over time, of (F, 52) in [0, 1]."""
    seen = blendshapes[np.isfinite(blendshapes).all(axis=1), 1:]
    return float(seen.std(axis=0, dtype=np.float64).mean()) if len(seen) else float("nan")
