"""Behaviour of a person in a video of their own, from landmarks: frame for frame, or only their habits.

Shape letters: F frames of the clip, K landmarks of the face mesh, N frames of the new video.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Floats
from openemo.behaviour.curves import ease, smoothed
from openemo.behaviour.gaze import EYE_WIDTHS_PER_DEGREE
from openemo.behaviour.head_motion import follow_torso, limit_head
from openemo.behaviour.person_style import DIRECTIONS, PersonStyle
from openemo.behaviour.tracks import EMOTIONS, Behaviour
from openemo.errors import FaceError
from openemo.face.landmarks import BROWS, LEFT_IRIS, RIGHT_IRIS, STABLE, eye_opening, head_pose, neck_pivot

__all__ = ["clip_behaviour", "clip_style", "read_behaviour"]

_LEAST_S, _LEAST_FRAMES = 1.0, 5
_LEAST_SEEN: Final = 0.5  # share of the frames with a face
_SMOOTHING_S: Final = 0.04  # against the jitter of the landmarks
_OPEN_SHARE, _SHUT_SHARE = (
    0.85,
    0.4,
)  # of the eye's usual opening: from which on it closes, at which it is shut
_CROSS_FADE_S, _LONGEST_FADE_SHARE = 0.8, 0.25
_START_S: Final = 0.6
_HELD_S: Final = 0.1
# A cut of the film is a step of the head that nobody makes in a tenth of a second. Each shot is read relative
# to its own middle, which is reached softly.
_CUT: Final = np.array((25.0, 25.0, 25.0, 0.3, 0.3, 0.2))
_CUT_S, _FROM_CUT_S = 0.1, 0.5
_SEAM_TRIES: Final = 200
_CHEEKS = (234, 454)
_CORNERS: Final = ((33, 133), (362, 263))  # of each eye, from left to right in the picture
_IRISES: Final = (RIGHT_IRIS, LEFT_IRIS)
# What `draw_behaviour` gives in the mean of people, against which a clip is measured.
_USUAL_HEAD_DEG, _USUAL_SPEED_DEG_S, _USUAL_SWAY, _USUAL_BROWS = (2.3, 2.2, 1.5), 8.0, 0.035, 0.0045
_AWAY_DEG: Final = 4.0
_HABITS: Final = (0.2, 2.0)  # no person is taken to move less or more, of the mean


@dataclass(frozen=True, slots=True)
class _Faces:
    """Heads in space: rotations (F, 3, 3), scales (F,) and landmarks (F, K, 3) in the head's own axes."""

    angles_deg: Doubles
    pivots: Doubles
    scales: Doubles
    own_axes: Doubles


def clip_behaviour(
    points_px_FK3: Floats,
    clip_fps: Fraction,
    num_frames: int,
    fps: Fraction,
    *,
    num_shown: int | None = None,
) -> Behaviour:
    """The motion of a clip over the frames of a video; expression is left out.

    Time is kept: other frame rates are interpolated. Where the clip is shorter, it starts again at a moment
    that is like its end, with a soft change. The first frame is the portrait as it is.

    Args:
        points_px_FK3: (F, 478, 3) landmarks; NaN in frames without a face.
        num_frames: of the result.
        num_shown: of the video (None: all). A clip that lasts as long is not repeated for the others.

    Raises:
        FaceError: less than a second, or a face in less than half of the frames.
    """
    clip = read_behaviour(points_px_FK3, clip_fps)
    last = float((min(num_shown or num_frames, num_frames) - 1) * clip_fps / fps)
    indices, weights = _loop(clip, float(clip_fps), last)
    steps = np.minimum(np.arange(num_frames) * float(clip_fps / fps), last)
    start = ease(np.arange(num_frames) / float(fps) / _START_S)

    def at_frames(values: Doubles) -> Doubles:
        mixed = np.einsum("pt,pt...->t...", weights, values[indices])
        columns = mixed.reshape(len(mixed), -1)
        read = [np.interp(steps, np.arange(len(columns)), column) for column in columns.T]
        return np.reshape(np.stack(read, 1) * start[:, None], (num_frames, *values.shape[1:]))

    return Behaviour(*(at_frames(getattr(clip, field.name)) for field in fields(clip)))


def read_behaviour(points_px_FK3: Floats, fps: Fraction) -> Behaviour:
    """What the person does in each frame of a clip, relative to the median of the clip. Raises FaceError."""
    points = _complete(np.asarray(points_px_FK3, np.float64), float(fps))
    faces = _faces(points)
    closed = _closed(points)
    is_shut = closed.max(1) > 0.2
    head = np.concatenate([faces.angles_deg, faces.pivots, np.log(faces.scales)[:, None]], 1)
    shots = _shots(head, float(fps))
    gaze = _irises(faces.own_axes) / _eye_width(faces.own_axes)
    gaze = _bridged(_joined(gaze, shots, float(fps)), is_shut)
    head = limit_head(smoothed(_joined(head, shots, float(fps)), _SMOOTHING_S, float(fps)))
    brows = _joined(_brow_heights(faces.own_axes), shots, float(fps))
    return Behaviour(
        head_F6=head,
        torso_F2=follow_torso(head, float(fps)),
        brows_F=smoothed(brows, _SMOOTHING_S, float(fps)),
        gaze_F2=gaze,
        eyes_closed_F2=closed,
        expression_FE=np.zeros((len(head), len(EMOTIONS))),
    )


def clip_style(points_px_FK3: Floats, fps: Fraction, person: PersonStyle) -> PersonStyle:
    """The habits of a person as a clip shows them; what it cannot show is taken from `person`.

    Raises:
        FaceError: less than a second, or a face in less than half of the frames.
    """
    clip = read_behaviour(points_px_FK3, fps)
    seconds = len(clip) / float(fps)
    angles = clip.head_F6[:, :3]
    ranges = [_ratio(size, usual) for size, usual in zip(angles.std(0), _USUAL_HEAD_DEG, strict=True)]
    speed = float(np.linalg.norm(np.diff(angles, axis=0), axis=1).mean() * float(fps))
    looks_deg = clip.gaze_F2 / EYE_WIDTHS_PER_DEGREE + angles[:, :2] * (1, -1)
    is_away = np.linalg.norm(looks_deg, axis=1) > _AWAY_DEG
    starts = max(int((np.diff(is_away.astype(int)) > 0).sum()), 1)
    away_deg = np.linalg.norm(looks_deg[is_away], axis=1)
    return replace(
        person,
        head_range=(ranges[0], ranges[1], ranges[2]),
        tempo=_ratio(speed / float(np.mean(ranges)), _USUAL_SPEED_DEG_S),
        sway=_ratio(float(np.hypot(*clip.head_F6[:, 3:5].std(0))), _USUAL_SWAY),
        brows=_ratio(float(clip.brows_F.std()), _USUAL_BROWS),
        blinks_per_minute=float(np.clip(60 * _count_blinks(clip.eyes_closed_F2.mean(1)) / seconds, 4, 45)),
        camera_hold_s=float(np.clip((~is_away).sum() / float(fps) / starts, 0.6, 8)),
        away_hold_s=float(np.clip(is_away.sum() / float(fps) / starts, 0.3, 3)),
        gaze_size=_ratio(float(away_deg.mean()), 9.0) if len(away_deg) else person.gaze_size,
        gaze_directions=_directions(looks_deg[is_away], person.gaze_directions),
    )


def _ratio(size: float, usual: float) -> float:
    return float(np.clip(size / usual, *_HABITS))


def _directions(looks_deg: Doubles, usual: tuple[float, ...]) -> tuple[float, ...]:
    """(8,) shares, with a second's worth of what is usual, so that no direction is ruled out."""
    turns = np.arctan2(looks_deg[:, 1], looks_deg[:, 0]) / (2 * np.pi) * DIRECTIONS
    counts = np.bincount(np.round(turns).astype(int) % DIRECTIONS, minlength=DIRECTIONS)
    shares = counts + 25 * np.array(usual)
    return tuple(float(share) for share in shares / shares.sum())


def _count_blinks(closed: Doubles) -> int:
    is_shut = closed > 0.5
    return int((is_shut[1:] & ~is_shut[:-1]).sum())


def _complete(points: Doubles, fps: float) -> Doubles:
    """Landmarks of all frames, with those that are missing between their neighbours."""
    seen = np.isfinite(points).all(axis=(1, 2))
    if len(points) < max(_LEAST_S * fps, _LEAST_FRAMES) or seen.mean() < _LEAST_SEEN:
        raise FaceError(
            "the clip shows too little of a face to take its motion",
            got=f"{len(points) / fps:.1f} s, a face in {seen.sum()} of {len(points)} frames",
            expected=f"{_LEAST_S:g} s and {_LEAST_FRAMES} frames or more, with a face in half of them",
            fix="Use a clip in which one person looks at the camera",
        )
    flat = points.reshape(len(points), -1)
    frames = np.arange(len(points))
    if not seen.all():
        flat = np.stack([np.interp(frames, frames[seen], column[seen]) for column in flat.T], 1)
    return flat.reshape(points.shape)


def _faces(points: Doubles) -> _Faces:
    poses = [head_pose(face) for face in points]
    angles = np.array([(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for pose in poses])
    turns = np.stack([_rotation(*np.radians(angle)) for angle in angles])
    stable = points[:, list(STABLE)]
    centres = stable.mean(1)
    sizes = np.sqrt(((stable - centres[:, None]) ** 2).sum(2).mean(1))
    scales = sizes / np.median(sizes)
    own = np.einsum("fij,fki->fkj", turns, points - centres[:, None]) / scales[:, None, None]
    face_width = float(np.median(np.linalg.norm(own[:, _CHEEKS[0]] - own[:, _CHEEKS[1]], axis=1)))
    # The pivot goes with the head as one body, so that chewing does not move it.
    rest = np.median(own, axis=0)
    pivots = centres + scales[:, None] * np.einsum("fij,j->fi", turns, neck_pivot(rest))
    return _Faces(angles, pivots[:, :2] / face_width, scales, own / face_width)


def _rotation(yaw: float, pitch: float, roll: float) -> Doubles:
    """As `head_pose` defines it: Rz(roll) Rx(pitch) Ry(yaw)."""
    (sy, sp, sr), (cy, cp, cr) = np.sin((yaw, pitch, roll)), np.cos((yaw, pitch, roll))
    turn_y = np.array(((cy, 0, -sy), (0, 1, 0), (sy, 0, cy)))
    turn_x = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
    turn_z = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
    return np.asarray(turn_z @ turn_x @ turn_y)


def _shots(head: Doubles, fps: float) -> list[slice]:
    """The frames between the cuts of a film."""
    steps = np.abs(np.diff(head, axis=0)) / max(1 / (_CUT_S * fps), 1)
    cuts = np.flatnonzero((steps > _CUT).any(1)) + 1
    ends = [0, *(int(cut) for cut in cuts), len(head)]
    return [slice(first, last) for first, last in pairwise(ends)]


def _joined(values: Doubles, shots: list[slice], fps: float) -> Doubles:
    """Values (F, ...) of each shot relative to their median there. After a cut they go on softly."""
    result = np.zeros_like(values)
    for shot in shots:
        own = values[shot] - np.median(values[shot], axis=0)
        if shot.start:
            left = 1 - ease(np.arange(len(own)) / fps / _FROM_CUT_S)
            own = own + np.multiply.outer(left, result[shot.start - 1] - own[0])
        result[shot] = own
    return result


def _bridged(values: Doubles, is_hidden: NDArray[np.bool_]) -> Doubles:
    """Values (F, D) with those of hidden frames between their neighbours: shut lids move the irises."""
    if is_hidden.all():
        return np.zeros_like(values)
    frames = np.arange(len(values))
    return np.stack([np.interp(frames, frames[~is_hidden], column[~is_hidden]) for column in values.T], 1)


def _eye_width(own_axes: Doubles) -> float:
    widths = [np.linalg.norm(own_axes[:, a] - own_axes[:, b], axis=1) for a, b in _CORNERS]
    return float(np.median(widths))


def _irises(own_axes: Doubles) -> Doubles:
    """(F, 2) right and down of the middle between the corners of the eyes, mean of both eyes."""
    eyes = [
        own_axes[:, iris[0], :2] - own_axes[:, list(corners), :2].mean(1)
        for iris, corners in zip(_IRISES, _CORNERS, strict=True)
    ]
    return np.asarray(np.mean(eyes, axis=0))


def _brow_heights(own_axes: Doubles) -> Doubles:
    """(F,) face widths by which the brows are above the corners of the eyes."""
    corners = [index for pair in _CORNERS for index in pair]
    return np.asarray(own_axes[:, corners, 1].mean(1) - own_axes[:, list(BROWS), 1].mean(1))


def _closed(points: Doubles) -> Doubles:
    """(F, 2) of the eye on the left of the picture and of that on the right."""
    opening = np.array([eye_opening(face) for face in points])
    share = opening / np.maximum(np.percentile(opening, 75, axis=0), 1e-6)
    return np.asarray(np.clip((_OPEN_SHARE - share) / (_OPEN_SHARE - _SHUT_SHARE), 0, 1))


def _loop(clip: Behaviour, fps: float, last_step: float) -> tuple[NDArray[np.int64], Doubles]:
    """(2, T) frames of the clip and their weights, for each frame at the clip's rate up to `last_step`.

    Where the clip is shorter by an instant, as files of one length are, its last frame is held.
    """
    needed = int(np.ceil(last_step - 1e-6)) + 1
    if needed <= len(clip) + _HELD_S * fps:
        indices = np.minimum(np.arange(needed), len(clip) - 1)
        return np.stack([indices, indices]), np.stack([np.ones(needed), np.zeros(needed)])
    fade = max(1, round(min(_CROSS_FADE_S * fps, _LONGEST_FADE_SHARE * len(clip))))
    first, last = _seam(clip, fade)
    indices, weights = np.zeros((2, needed), np.int64), np.zeros((2, needed))
    position = 0
    for step in range(needed):
        indices[0, step], weights[0, step] = position, 1
        into = position - (last - fade)
        if into >= 0:
            share = float(ease(np.array((into + 1) / (fade + 1))))
            indices[1, step] = first + into
            weights[:, step] = 1 - share, share
        position += 1
        if position == last:
            position = first + fade
    return indices, weights


def _seam(clip: Behaviour, fade: int) -> tuple[int, int]:
    """First and one past the last frame of the part that is repeated: its ends are alike over the fade."""
    count = len(clip)
    units = np.array((2.0, 2.0, 1.5, 0.03, 0.02, 0.02, 0.004, 0.05, 0.04, 0.1, 0.1))
    state = np.column_stack([clip.head_F6, clip.brows_F, clip.gaze_F2, clip.eyes_closed_F2]) / units
    best, seam = np.inf, (0, count)
    stride = max(2, count // _SEAM_TRIES)
    for first in range(0, count // 3, stride):
        for last in range(count - count // 3 + fade, count + 1, stride):
            ahead, behind = state[first : first + fade], state[last - fade : last]
            # A short loop repeats itself sooner.
            cost = float(((ahead - behind) ** 2).mean()) + 2.0 * (1 - (last - first) / count)
            if cost < best:
                best, seam = cost, (first, last)
    return seam
