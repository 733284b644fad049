"""A person's own video, as a source of motion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Image
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import FaceError
from openemo.face import Face, FaceAnalyzer
from openemo.face.landmarks import NUM_POINTS
from openemo.pipeline.inputs import open_clip

if TYPE_CHECKING:
    from openemo.pipeline.inputs import MediaFile

__all__ = ["MotionClip", "at_constant_rate", "read_motion_clip"]

_USUAL_FPS: Final = 25
_LEAST_S, _MOST_S = 10.0, 300.0  # are read of a clip that is long enough, however long the voice is
# Steps between frames that differ by less than this are those of a constant rate: some files count
# milliseconds.
_SAME_STEP: Final = 0.1
_QUICK_STEPS: Final = 25  # percentile of the steps from frame to frame that is the rate to resample at
_JUMP: Final = 0.25  # between two frames, in face widths: a cut, or another person


@dataclass(frozen=True, slots=True)
class MotionClip:
    """The landmarks of one face through a video.

    Attributes:
        points_px_FK3: (F, 478, 3); NaN in frames without a face.
        fps: frames per second.
    """

    points_px_FK3: NDArray[np.float32]
    fps: Fraction


def read_motion_clip(
    clip: MediaFile,
    analyzer: FaceAnalyzer,
    *,
    duration_s: float,
    limits: DecodingLimits = DEFAULT_LIMITS,
    sandbox: bool = True,
) -> MotionClip:
    """Follows the largest face of a video.

    Args:
        clip: path, bytes of a file, or file opened for binary reading.
        duration_s: of the voice; of a longer video no more than this is read, but 10 s if it has them, and
            never over five minutes.
        limits, sandbox: as in `EmoPipeline.__call__`.

    Raises:
        InputError: it cannot be read as video.
    """
    max_s = min(max(duration_s, _LEAST_S), _MOST_S)
    nothing = np.full((NUM_POINTS, 3), np.nan, np.float32)
    face: Face | None = None
    points, times_s = [], []
    with open_clip(clip, max_s=max_s, limits=limits, sandbox=sandbox) as frames:
        for time_s, frame in frames:
            face = (face and analyzer.track(frame, face)) or _largest(frame, analyzer)
            points.append(nothing if face is None else face.points_px)
            times_s.append(time_s)
    return at_constant_rate(np.stack(points), np.array(times_s))


def at_constant_rate(points_px_FK3: NDArray[np.float32], times_s_F: Doubles) -> MotionClip:
    """The landmarks of frames that were shown at these increasing times.

    Where the times are regular, frames stay what they are. Otherwise landmarks are interpolated, at the rate
    at which the frames come where they come quickly.
    """
    steps_s = np.diff(times_s_F)
    if not len(steps_s):
        return MotionClip(points_px_FK3, Fraction(_USUAL_FPS))
    mean_s = float(steps_s.mean())
    if (np.abs(steps_s - mean_s) < _SAME_STEP * mean_s).all():
        return MotionClip(points_px_FK3, _rate(mean_s))
    fps = _rate(float(np.percentile(steps_s, _QUICK_STEPS)))
    wanted_s = np.arange(int(times_s_F[-1] * fps) + 1) / float(fps)
    after = np.clip(np.searchsorted(times_s_F, wanted_s), 1, len(steps_s))
    share = ((wanted_s - times_s_F[after - 1]) / steps_s[after - 1]).astype(np.float32)
    share = np.where(_jumps(points_px_FK3)[after - 1], np.round(share), share)[:, None, None]
    before, behind = points_px_FK3[after - 1], points_px_FK3[after]
    mixed = np.where(share == 0, before, np.where(share == 1, behind, before + share * (behind - before)))
    return MotionClip(np.asarray(mixed, np.float32), fps)


def _rate(step_s: float) -> Fraction:
    return Fraction(1 / step_s).limit_denominator(1001)


def _jumps(points_px_FK3: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(F - 1,) between which frames no landmarks can be: they are far apart, or there are none."""
    moved = np.linalg.norm(np.diff(points_px_FK3[..., :2], axis=0), axis=-1).mean(-1)
    widths = np.linalg.norm(points_px_FK3[:, 234, :2] - points_px_FK3[:, 454, :2], axis=-1)
    return ~np.asarray(moved < _JUMP * widths[:-1])


def _largest(frame: Image, analyzer: FaceAnalyzer) -> Face | None:
    try:
        return analyzer.find(frame)
    except FaceError:
        return None
