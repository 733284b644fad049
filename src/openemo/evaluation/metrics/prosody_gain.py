"""How much of a motion follows from the sound, beyond what follows from the position in the clip alone.

A network that is trained on sentences of one form learns "blink in mid-sentence". A correlation with the
sound cannot tell that from listening, so three are given: from the position, from position and sound, and
from the position and another voice's sound. All are of voices that the fit has not seen.

Shape letters: F frames, S curves of the sound, K predictors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import shift, uniform_filter1d

from openemo.arrays import Doubles
from openemo.audio.prosody import Prosody
from openemo.evaluation.face_tracks import FaceTracks
from openemo.evaluation.metrics.confidence import Estimate, bootstrap
from openemo.evaluation.metrics.frame_statistics import mean
from openemo.evaluation.metrics.unseen_ridge import unseen_correlations

__all__ = ["MOTIONS", "DrivenClip", "ProsodyGain", "driven_motions", "prosody_gain", "sound_curves"]

MOTIONS: Final = ("head_speed", "head_pitch", "brows", "mouth")

_BIN_S: Final = 0.4
_LAGS_S: Final = (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4)
_SMOOTHING_S: Final = (0.4, 0.8)
_MOST_FOLDS: Final = 10
_CLOSE: Final = 1e-6
_HEAD_S: Final = 0.2  # smoothing of the head before its speed is taken


@dataclass(frozen=True, eq=False)
class DrivenClip:
    """A motion and the sound that drove it.

    Attributes:
        motion_F: NaN in frames that were not seen.
        sound_FS: see `sound_curves`.
        voice: name of the recording. Clips of one recording are kept out of the fit together.
    """

    motion_F: Doubles
    sound_FS: Doubles
    voice: str
    fps: float


@dataclass(frozen=True)
class ProsodyGain:
    """Mean correlations over clips of unseen voices, with intervals over clips; no value under two voices.

    Attributes:
        position: from the position in the clip alone.
        sound: from position and sound. other_sound: from position and another voice's sound, by the same fit.
        gain: sound - position.
        gain_by_voice: mean over the clips of each voice.
    """

    position: Estimate
    sound: Estimate
    other_sound: Estimate
    gain: Estimate
    gain_by_voice: dict[str, float]


def driven_motions(tracks: FaceTracks) -> dict[str, Doubles]:
    """The motions (F,) whose gain is measured, by the names in `MOTIONS`; the mouth to check the measure."""
    head = uniform_filter1d(tracks.head_deg_F3, max(1, round(_HEAD_S * tracks.fps)), axis=0, mode="nearest")
    speed = (
        np.linalg.norm(np.gradient(head, axis=0), axis=1) * tracks.fps if len(head) > 1 else head[:, 0] * 0
    )
    curves = (speed, tracks.head_deg_F3[:, 1], tracks.brows_F, tracks.mouth_opening_F)
    return dict(zip(MOTIONS, curves, strict=True))


def sound_curves(prosody: Prosody) -> Doubles:
    """(F, 3) loudness, pitch and voicing, each with a spread of about 1."""
    voicing = prosody.is_voiced_F.astype(np.float64)
    return np.stack([prosody.loudness_db_F / 10, prosody.pitch_semitones_F / 3, voicing], axis=1)


def prosody_gain(clips: Sequence[DrivenClip]) -> ProsodyGain:
    """Ridge regression from position and sound to the motion, each voice predicted from the others.

    Sound is loudness, pitch and voicing, at lags within 0.4 s and smoothed over 0.4 and 0.8 s; position is
    a bin each 0.4 s. Motions are scaled to one spread per clip, so that lively people do not decide the fit.
    A clip without motion counts as not measured. With more than ten voices, several are left out at a time.
    """
    voices = sorted({clip.voice for clip in clips})
    if len(voices) < 2:
        nothing = bootstrap([])
        return ProsodyGain(nothing, nothing, nothing, nothing, {})
    of_voice = {clip.voice: clip for clip in clips}
    another = dict(zip(voices, [*voices[1:], voices[0]], strict=True))
    num_bins = max(int(len(clip.motion_F) / clip.fps / _BIN_S) for clip in clips) + 2
    targets: list[Doubles] = []
    positions: list[Doubles] = []
    sounds: list[Doubles] = []
    others: list[Doubles] = []
    for clip in clips:
        motion = _scaled(clip.motion_F)
        seen = np.isfinite(motion)
        place = _position(clip, num_bins)[seen]
        targets.append(motion[seen])
        positions.append(_centred(place))
        for predictors, source in ((sounds, clip), (others, of_voice[another[clip.voice]])):
            sound = _predictors(source.sound_FS, len(motion), clip.fps)[seen]
            predictors.append(_centred(np.concatenate([place, sound], axis=1)))
    folds = np.array([voices.index(clip.voice) % _MOST_FOLDS for clip in clips])
    by_position = unseen_correlations(positions, positions, targets, folds)
    by_sound = unseen_correlations(sounds, sounds, targets, folds)
    by_other = unseen_correlations(sounds, others, targets, folds)
    gains = by_sound - by_position
    members = {voice: [clip.voice == voice for clip in clips] for voice in voices}
    return ProsodyGain(
        bootstrap(by_position),
        bootstrap(by_sound),
        bootstrap(by_other),
        bootstrap(gains),
        {voice: mean(gains[of]) for voice, of in members.items()},
    )


def _position(clip: DrivenClip, num_bins: int) -> Doubles:
    """(F, num_bins) bins that overlap and add up to one: piecewise linear functions of time."""
    time = np.arange(len(clip.motion_F)) / clip.fps / _BIN_S
    return np.asarray(np.clip(1 - np.abs(time[:, None] - np.arange(num_bins)), 0, None))


def _predictors(curves: Doubles, num_frames: int, fps: float) -> Doubles:
    """(num_frames, K) of the sound's curves; their last value goes on if they are shorter."""
    curves = np.pad(curves, ((0, max(0, num_frames - len(curves))), (0, 0)), mode="edge")[:num_frames]
    lagged = [shift(curves, (lag_s * fps, 0), order=1, mode="nearest") for lag_s in _LAGS_S]
    smooth = [
        uniform_filter1d(curves, max(1, round(width_s * fps)), axis=0, mode="nearest")
        for width_s in _SMOOTHING_S
    ]
    return np.concatenate([*lagged, *smooth], axis=1)


def _scaled(motion: Doubles) -> Doubles:
    """Mean 0 and spread 1; NaN everywhere if there is no motion."""
    seen = motion[np.isfinite(motion)]
    if len(seen) < 2 or np.ptp(seen) < _CLOSE:
        return np.full_like(motion, np.nan)
    return np.asarray((motion - seen.mean()) / seen.std())


def _centred(values: Doubles) -> Doubles:
    return values - values.mean(axis=0) if len(values) else values
