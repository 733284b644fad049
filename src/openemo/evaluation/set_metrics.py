"""Figures of whole sets of clips: Fréchet distances to the real clips, and what motion follows the sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.array_files import REPAIR, ArrayKind, read_arrays
from openemo.arrays import Doubles
from openemo.audio.audio_reader import read_audio
from openemo.audio.prosody import measure_prosody
from openemo.errors import InputError, OutputError
from openemo.evaluation import rows
from openemo.evaluation.face_tracks import face_tracks
from openemo.evaluation.jobs import EvaluationSettings, jobs_of
from openemo.evaluation.metrics.confidence import Estimate, jackknife
from openemo.evaluation.metrics.frechet import FrechetDistance, FrechetFeatures
from openemo.evaluation.metrics.prosody_gain import (
    MOTIONS,
    DrivenClip,
    driven_motions,
    prosody_gain,
    sound_curves,
)
from openemo.evaluation.observation import Observation
from openemo.evaluation.records import Measured
from openemo.files import whole_file

__all__ = ["MOTION_TRACKS", "motion_tracks", "set_figures", "write_features"]

MOTION_TRACKS: Final = "motion_tracks"

Features = dict[str, NDArray[np.float32]]

_MAX_GROUPS: Final = 40
"""The jackknife leaves out at most so many groups of clips, because each costs a distance."""


def set_figures(
    settings: EvaluationSettings, measured: Measured, features: Sequence[FrechetFeatures]
) -> dict[str, dict[str, Estimate]]:
    """Estimates by row and metric: `distance_figures` and `prosody_figures`."""
    figures = distance_figures(settings, measured, features)
    for row, found in prosody_figures(settings, measured).items():
        figures.setdefault(row, {}).update(found)
    return figures


def prosody_figures(settings: EvaluationSettings, measured: Measured) -> dict[str, dict[str, Estimate]]:
    """What each motion follows, by `prosody_gain`; the clip's own sound for all rows.

    So the rows "silence" and "mismatched" say what chance is.
    """
    curves: dict[str, list[tuple[str, float, Doubles, Doubles]]] = {}
    for clip in measured:
        prosody = measure_prosody(read_audio(clip.path))
        for job in jobs_of(settings, clip):
            motions = _features(job.record, MOTION_TRACKS).astype(np.float64)
            fps = measured[clip][job.row, job.seed].fps
            sound = sound_curves(prosody.at(len(motions), Fraction(fps)))
            curves.setdefault(job.row, []).append((clip.name, fps, motions, sound))
    return {
        row: {
            f"{motion}_{name}": estimate
            for column, motion in enumerate(MOTIONS)
            for name, estimate in _gain(column, clips).items()
        }
        for row, clips in curves.items()
    }


def motion_tracks(made: Observation) -> NDArray[np.float32]:
    """(F, motions) the motions of `driven_motions`, to be written with the features."""
    motions = driven_motions(face_tracks(made.points_px, made.fps))
    return np.stack([motions[name] for name in MOTIONS], axis=1).astype(np.float32)


def distance_figures(
    settings: EvaluationSettings, measured: Measured, features: Sequence[FrechetFeatures]
) -> dict[str, dict[str, Estimate]]:
    """Distances by row and metric, with intervals from leaving out clips.

    The row of real clips is left out: its distance to itself is zero. So is the row "mismatched" of finished
    videos, because it is the same set of videos.
    """
    shown = [row for row in settings.rows if row != rows.REAL]
    if settings.videos is not None and rows.MISMATCHED in shown:
        shown.remove(rows.MISMATCHED)
    figures: dict[str, dict[str, Estimate]] = {row: {} for row in shown}
    for kind in features:
        made = {row: FrechetDistance(kind) for row in shown}
        clip_of: dict[str, list[int]] = {row: [] for row in shown}
        for number, clip in enumerate(measured):
            jobs = jobs_of(settings, clip)
            real = next(_features(job.record, kind.key) for job in jobs if job.row == rows.REAL)
            for job in jobs:
                if job.row in made:
                    made[job.row].add(_features(job.record, kind.key), real)
                    clip_of[job.row].append(number)
        for row, distance in made.items():
            if clip_of[row]:
                figures[row][kind.key] = _estimate(distance, np.array(clip_of[row]))
    return figures


def _gain(column: int, clips: list[tuple[str, float, Doubles, Doubles]]) -> dict[str, Estimate]:
    found = prosody_gain(
        [DrivenClip(motions[:, column], sound, name, fps) for name, fps, motions, sound in clips]
    )
    return {
        "position_r": found.position,
        "sound_r": found.sound,
        "other_sound_r": found.other_sound,
        "prosody_gain": found.gain,
    }


def write_features(record: Path, features: Features) -> None:
    """Write features beside the record. Raises OutputError."""
    path = record.with_suffix(".npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, allow_pickle=False, **features)
    except OSError as error:
        raise OutputError(f"{path} cannot be written", got=error.strerror) from error


def read_features(record: Path) -> Features:
    """The features beside the record. Raises InputError if the file is damaged."""
    return read_arrays(record.with_suffix(".npz"), ArrayKind(np.float32, (None, None)), error=InputError)


def _features(record: Path, key: str) -> NDArray[np.float32]:
    features = read_features(record)
    if key not in features:
        raise InputError(f"{record.with_suffix('.npz')} has no {key}", fix=REPAIR)
    return features[key]


def _estimate(distance: FrechetDistance, clip_of: NDArray[np.int_]) -> Estimate:
    """Args: clip_of: (N,) the clip of each added video. All seeds of a clip are left out together."""
    clips = np.unique(clip_of)
    groups = np.array_split(clips, min(len(clips), _MAX_GROUPS)) if len(clips) > 1 else []
    left_out = [distance.distance(np.flatnonzero(~np.isin(clip_of, group)).tolist()) for group in groups]
    whole = jackknife(distance.distance(), left_out)
    low = None if whole.low is None else max(whole.low, 0.0)  # no distance is negative
    return whole.model_copy(update={"clips": len(clips), "low": low})
