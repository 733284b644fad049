"""Liveliness: head, brows, gaze, blinks, mouth corners, cheeks. Read each beside the real clip's figure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Floats
from openemo.evaluation.face_tracks import FaceTracks, face_tracks, smoothed
from openemo.evaluation.metrics.frame_statistics import mean, ratio, spread
from openemo.evaluation.observation import Observation

__all__ = ["expression_spread", "find_blinks", "head_speeds_deg_s", "score_life", "score_tracks"]


_SHUT: Final = 0.6  # of the eye's median opening
_REOPENED: Final = 0.75
_MAX_BLINK_S: Final = 0.6
_BESIDE_BLINKS_S: Final = 0.1  # lids pull the irises' landmarks along
_WINDOW_S: Final = 8.0
_MIN_INTERVALS: Final = 3


def score_life(made: Observation) -> dict[str, float]:
    """`score_tracks` and `expression_spread`."""
    tracks = face_tracks(made.points_px, made.fps)
    return score_tracks(tracks) | {"expression_spread": expression_spread(made.blendshapes)}


def score_tracks(tracks: FaceTracks) -> dict[str, float]:
    """Motion of the person. Lengths in face widths; a spread is a standard deviation over time.

    head_yaw_range_deg, head_pitch_range_deg, head_roll_range_deg: from the least to the most, smoothed over
        0.2 s, in windows of 8 s (median over them). head_translation: length of the ranges right and down.
    head_speed_deg_s: mean length of the change of (yaw, pitch, roll) per second, smoothed over 0.2 s.
    brow_spread: brows above the eyes. gaze_x_spread, gaze_y_spread: irises between the corners of the eyes,
        without frames at or beside a blink.
    mouth_width_spread, mouth_corner_spread, jaw_spread: distance of the corners, and how far down corners and
        chin are. cheek_spread, fold_spread: mean over landmarks and both axes.
    blink_*: see `score_blinks`.
    """
    yaw, pitch, roll = _ranges(tracks.head_deg_F3, tracks.fps)
    gaze = tracks.gaze_F2[eyes_are_open(tracks.eye_opening_F, tracks.fps)]
    return score_blinks(tracks.eye_opening_F, tracks.fps) | {
        "head_yaw_range_deg": float(yaw),
        "head_pitch_range_deg": float(pitch),
        "head_roll_range_deg": float(roll),
        "head_translation": float(np.linalg.norm(_ranges(tracks.place_F2, tracks.fps))),
        "head_speed_deg_s": mean(head_speeds_deg_s(tracks.head_deg_F3, tracks.fps)),
        "brow_spread": spread(tracks.brows_F),
        "gaze_x_spread": spread(gaze[:, 0]),
        "gaze_y_spread": spread(gaze[:, 1]),
        "mouth_width_spread": spread(tracks.mouth_width_F),
        "mouth_corner_spread": spread(tracks.corners_F),
        "jaw_spread": spread(tracks.jaw_F),
        "cheek_spread": _mean_spread(tracks.cheeks_FP2),
        "fold_spread": _mean_spread(tracks.folds_FP2),
    }


def score_blinks(opening: Doubles, fps: float) -> dict[str, float]:
    """Of a curve (F,) of eye openings.

    blinks_per_min: of the frames with a face. Speakers blink 15 to 30 times a minute. A clip of three seconds
        has one blink or none, so only a mean over many clips is meaningful.
    blink_first_s: start of the first one; NaN without a blink.
    blink_duration_s: mean time below the threshold of `find_blinks`.
    blink_interval_cv: standard deviation of the times between starts over their mean; NaN under three times.
    """
    starts, durations = find_blinks(opening, fps).T
    intervals = np.diff(starts)
    seen_s = float(np.isfinite(opening).sum()) / fps
    return {
        "blinks_per_min": ratio(len(starts) * 60, seen_s),
        "blink_first_s": float(starts[0]) if len(starts) else float("nan"),
        "blink_duration_s": mean(durations),
        "blink_interval_cv": (
            ratio(spread(intervals), mean(intervals)) if len(intervals) >= _MIN_INTERVALS else float("nan")
        ),
    }


def find_blinks(opening: Doubles, fps: float) -> Doubles:
    """(blinks, 2) start and duration in seconds of closures of at most 0.6 s (after Soukupova and Cech 2016).

    The eye is shut below 0.6 of its median opening, because eyes differ too much for one fixed threshold. It
    is open again above 0.75 of the median, so an eye that trembles at the threshold blinks once. Frames
    without a face are skipped. A closure that lasts beyond the end is no blink.
    """
    seen = np.flatnonzero(np.isfinite(opening))
    if not len(seen):
        return np.zeros((0, 2))
    median = float(np.median(opening[seen]))
    blinks: list[tuple[float, float]] = []
    shut: list[int] = []
    for frame in seen:
        value = opening[frame]
        if value < _SHUT * median or (shut and value < _REOPENED * median):
            shut.append(int(frame))
        else:
            if 0 < len(shut) <= round(_MAX_BLINK_S * fps):
                blinks.append((shut[0] / fps, len(shut) / fps))
            shut = []
    return np.array(blinks, np.float64).reshape(-1, 2)


def eyes_are_open(opening: Doubles, fps: float) -> NDArray[np.bool_]:
    """(F,) False where the eyes are at or within 0.1 s of a closure, or not seen."""
    seen = np.isfinite(opening)
    if not seen.any():
        return seen
    shut = seen & (opening < _REOPENED * np.median(opening[seen]))
    reach = np.ones(2 * round(_BESIDE_BLINKS_S * fps) + 1)
    return seen & (np.convolve(shut, reach, "full")[len(reach) // 2 :][: len(shut)] < 1)


def head_speeds_deg_s(angles_deg: Doubles, fps: float) -> Doubles:
    """Speed of (F, 3) angles between frames. They are smoothed first: most of it would be landmark jitter."""
    return np.asarray(np.linalg.norm(np.diff(smoothed(angles_deg, fps), axis=0), axis=1) * fps)


def expression_spread(blendshapes: Floats) -> float:
    """Mean over blendshapes 1 to 51 of their standard deviation over time, of (F, 52) in [0, 1]."""
    seen = blendshapes[np.isfinite(blendshapes).all(axis=1), 1:]
    return float(seen.std(axis=0, dtype=np.float64).mean()) if len(seen) else float("nan")


def _ranges(track: Doubles, fps: float) -> Doubles:
    """(A,) range of each column of (F, A), smoothed, in windows of 8 s; the median over windows."""
    count = max(1, round(len(track) / (_WINDOW_S * fps)))
    ranges = [
        np.ptp(part, axis=0)
        for window in np.array_split(track, count)
        if len(part := _finite_rows(smoothed(window, fps)))
    ]
    return np.median(ranges, axis=0) if ranges else np.full(track.shape[1], np.nan)


def _finite_rows(values: Doubles) -> Doubles:
    return values[np.isfinite(values).all(axis=1)]


def _mean_spread(points: Doubles) -> float:
    """Mean over points and axes of the standard deviation of (F, P, 2)."""
    return mean(np.array([spread(column) for column in points.reshape(len(points), -1).T]))
