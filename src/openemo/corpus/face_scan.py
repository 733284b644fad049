"""Shots of a video and the faces in them: one track for each person, broken at each cut."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Image
from openemo.corpus.build_settings import FPS
from openemo.face import Face, FaceAnalyzer

__all__ = ["FaceTrack", "Scan", "ShotFinder", "scan_faces"]

_SHOT_WIDTH_PX: Final = 320
_LOOK_FRAMES: Final = 12  # new faces are looked for so often: each is found within half a second
_LOST_FRAMES: Final = 2  # without a face in a row, and the track has ended
_SEARCH_ROUNDS: Final = 3  # whole, with a border, and in tiles of half the size where faces are small


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """A face through frames that follow each other.

    Attributes:
        first: number of the first frame.
        points_px: (F, 478, 3) landmarks in the picture as it is decoded.
    """

    first: int
    points_px: NDArray[np.float32]

    @property
    def stop(self) -> int:
        return self.first + len(self.points_px)

    def between(self, first: int, stop: int) -> FaceTrack:
        return FaceTrack(first, self.points_px[first - self.first : stop - self.first])


@dataclass(slots=True)
class Scan:
    """What is in a stretch of a file.

    Attributes:
        num_frames: at 25 per second.
        height_px, width_px: of the frames.
        cuts: first frames of new shots.
        tracks: of faces, none across a cut.
    """

    num_frames: int = 0
    height_px: int = 0
    width_px: int = 0
    cuts: list[int] = field(default_factory=list)
    tracks: list[FaceTrack] = field(default_factory=list)


class ShotFinder:
    """Cuts, by PySceneDetect's adaptive detector: colour changes far more than in the frames around."""

    def __init__(self) -> None:
        # It says at INFO which of its optional parts are missing.
        logging.getLogger("pyscenedetect").setLevel(logging.WARNING)
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(min_scene_len=2)
        self._last: int | None = None

    def add(self, number: int, image: Image) -> list[int]:
        """First frames of new shots, known up to two frames late. A gap in the numbers is a cut, too."""
        from scenedetect import FrameTimecode

        height = max(1, round(image.shape[0] * _SHOT_WIDTH_PX / image.shape[1]))
        small = cv2.resize(image, (_SHOT_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
        found: list[Any] = self._detector.process_frame(
            FrameTimecode(number, fps=float(FPS)), cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        )
        cuts = [int(cut.frame_num) for cut in found]
        if self._last is not None and number > self._last + 1:
            cuts.append(number)
        self._last = number
        return cuts


@dataclass(slots=True)
class _Followed:
    """A face that is being followed."""

    face: Face
    first: int
    points: list[NDArray[np.float32]]
    seen: int  # the last frame that shows it


def scan_faces(frames: Iterable[tuple[int, Image]], analyzer: FaceAnalyzer, max_people: int) -> Scan:
    """Shots and faces, with one frame in memory at a time.

    Args:
        frames: number and picture of each, numbers may have gaps.
        max_people: are followed at a time, the largest ones.
    """
    scan, shots = Scan(), ShotFinder()
    followed: list[_Followed] = []
    whole: list[FaceTrack] = []
    last, since_look = None, _LOOK_FRAMES
    for number, image in frames:
        scan.num_frames += 1
        scan.height_px, scan.width_px = image.shape[:2]
        cuts = shots.add(number, image)
        scan.cuts += cuts
        if last is not None and number > last + 1:
            whole += [_track(one) for one in followed]
            followed = []
        if cuts:
            since_look = _LOOK_FRAMES
        followed, ended = _follow(followed, number, image, analyzer)
        whole += ended
        since_look += 1
        if since_look > _LOOK_FRAMES or ended:
            since_look = 0
            _look(followed, number, image, analyzer, max_people)
        last = number
    scan.cuts = sorted(set(scan.cuts))
    whole += [_track(one) for one in followed]
    scan.tracks = [piece for track in whole for piece in _between_cuts(track, scan.cuts)]
    scan.tracks.sort(key=lambda track: (track.first, float(track.points_px[0, :, 0].mean())))
    return scan


def _follow(
    followed: list[_Followed], number: int, image: Image, analyzer: FaceAnalyzer
) -> tuple[list[_Followed], list[FaceTrack]]:
    """Those that are still there, and the tracks that have ended."""
    alive: list[_Followed] = []
    ended: list[FaceTrack] = []
    for one in followed:
        face = analyzer.track(image, one.face)
        # Two tracks may slide onto one face: the older one keeps it.
        if face is not None and not any(other.seen == number and _same(other.face, face) for other in alive):
            # Short losses are bridged by what was seen last.
            one.points += [one.points[-1]] * (number - one.seen - 1)
            one.points.append(face.points_px)
            one.face, one.seen = face, number
        if number - one.seen > _LOST_FRAMES:
            ended.append(_track(one))
        else:
            alive.append(one)
    return alive, ended


def _look(
    followed: list[_Followed], number: int, image: Image, analyzer: FaceAnalyzer, max_people: int
) -> None:
    """Begins to follow the largest new faces."""
    for box in analyzer.detect(image, max_rounds=_SEARCH_ROUNDS):
        if len(followed) >= max_people:
            return
        coarse = analyzer.landmarks(image, box)
        face = analyzer.track(image, coarse) if coarse.score >= 0.5 else None
        if face is not None and not any(_same(one.face, face) for one in followed):
            followed.append(_Followed(face, number, [face.points_px], number))


def _same(one: Face, other: Face) -> bool:
    return one.holds(other) or other.holds(one)


def _track(one: _Followed) -> FaceTrack:
    return FaceTrack(one.first, np.stack(one.points))


def _between_cuts(track: FaceTrack, cuts: list[int]) -> list[FaceTrack]:
    ends = [track.first, *(cut for cut in cuts if track.first < cut < track.stop), track.stop]
    return [track.between(first, stop) for first, stop in pairwise(ends)]
