"""Which stretches of a face's track become clips, and the square that is cut out of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from openemo.arrays import Doubles
from openemo.corpus.build_settings import FPS, BuildSettings
from openemo.corpus.face_scan import FaceTrack, Scan
from openemo.face.crop import CropRegion
from openemo.face.landmarks import face_width_px, head_pose

__all__ = ["ClipPlan", "plan_stretches", "plan_track"]

# Of the head around the box of the landmarks, in heights of that box: hair above, ears and hair beside it.
_HAIR, _EARS = 0.4, 0.1
_STEP: Final = 5  # frames between those whose pose is read


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """A clip to be cut.

    Attributes:
        track: landmarks of its frames in the picture.
        region: the square that is cut out, the same for all frames; within the picture.
        face_px: median width of the face.
        yaw_deg: 95th percentile of the turn to a side, without its sign.
        pose_deg: median yaw, pitch and roll.
        head_cut: largest part of the head's box, over its height, outside the square.
        others: share of frames with the middle of another face in the square.
        jump: largest step of the face between frames, in face widths.
    """

    track: FaceTrack
    region: CropRegion
    face_px: float
    yaw_deg: float
    pose_deg: tuple[float, float, float]
    head_cut: float
    others: float
    jump: float


def plan_stretches(first: int, stop: int, settings: BuildSettings) -> list[tuple[int, int]]:
    """Equal clips, none longer than `max_clip_s`; none at all under `min_clip_s`."""
    count = stop - first
    least, most = math.ceil(settings.min_clip_s * FPS), math.floor(settings.max_clip_s * FPS)
    if count < least:
        return []
    parts = max(1, min(math.ceil(count / most), count // least))
    ends = [first + round(index * count / parts) for index in range(parts + 1)]
    return [(a, min(b, a + most)) for a, b in pairwise(ends)]


def plan_track(track: FaceTrack, scan: Scan, settings: BuildSettings) -> list[ClipPlan]:
    """The clips of one person in one shot."""
    stretches = plan_stretches(track.first, track.stop, settings)
    return [_plan(track.between(*stretch), track, scan, settings) for stretch in stretches]


def _plan(piece: FaceTrack, whole: FaceTrack, scan: Scan, settings: BuildSettings) -> ClipPlan:
    points = np.asarray(piece.points_px, np.float64)
    heads = _head_boxes(points)
    region = _region(points, heads, scan, settings)
    poses = [head_pose(frame) for frame in points[::_STEP]]
    angles = np.array([(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for pose in poses])
    yaw, pitch, roll = np.median(angles, axis=0)
    widths = np.array([face_width_px(frame) for frame in points])
    moved = np.linalg.norm(np.diff(points[..., :2], axis=0), axis=-1).mean(-1)
    x0, y0, x1, y1 = region.box_px
    outside = np.concatenate([(x0, y0) - heads[:, :2], heads[:, 2:] - (x1, y1)], axis=1).max(1)
    return ClipPlan(
        piece,
        region,
        face_px=float(np.median(widths)),
        yaw_deg=float(np.percentile(np.abs(angles[:, 0]), 95)),
        pose_deg=(float(yaw), float(pitch), float(roll)),
        head_cut=float(np.max(np.maximum(outside, 0) / (heads[:, 3] - heads[:, 1]))),
        others=_others(piece, region, [one for one in scan.tracks if one is not whole]),
        jump=float(np.max(moved / widths[:-1], initial=0.0)),
    )


def _head_boxes(points: Doubles) -> Doubles:
    """(F, 4) x0, y0, x1, y1 of heads that stand upright in the picture."""
    low, high = points[..., :2].min(1), points[..., :2].max(1)
    height = (high - low)[:, 1:]
    grow = np.concatenate([_EARS * height, _HAIR * height], axis=1)
    return np.concatenate([low - grow, high + grow * (1, 0)], axis=1)


def _region(points: Doubles, heads: Doubles, scan: Scan, settings: BuildSettings) -> CropRegion:
    """The square around all heads of the clip, within the picture."""
    boxes = points[..., :2].max(1) - points[..., :2].min(1)
    low, high = heads[:, :2].min(0), heads[:, 2:].max(0)
    side = max(settings.crop_scale * float(np.median(boxes.max(1))), float((high - low).max()))
    side = math.floor(min(side, scan.height_px, scan.width_px))
    corner = np.clip((low + high) / 2 - side / 2, 0, (scan.width_px - side, scan.height_px - side))
    return CropRegion(np.floor(corner) + side / 2, float(side))


def _others(piece: FaceTrack, region: CropRegion, tracks: Sequence[FaceTrack]) -> float:
    x0, y0, x1, y1 = region.box_px
    shown = np.zeros(len(piece.points_px), bool)
    for other in tracks:
        first, stop = max(piece.first, other.first), min(piece.stop, other.stop)
        if first < stop:
            middles = other.between(first, stop).points_px[..., :2].mean(1)
            inside = ((middles > (x0, y0)) & (middles < (x1, y1))).all(1)
            shown[first - piece.first : stop - piece.first] |= inside
    return float(shown.mean())
