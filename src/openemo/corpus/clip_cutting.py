"""Cuts one clip out of the frames as they come, and measures what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Image
from openemo.audio.audio_reader import Audio
from openemo.audio.loudness import gated_level_dbfs
from openemo.corpus.build_settings import FPS
from openemo.corpus.burnt_in_text import has_text
from openemo.corpus.clip_plans import ClipPlan
from openemo.corpus.sync_shift import sync_curve
from openemo.evaluation.alignment import face_chip
from openemo.evaluation.metrics.picture import sharpness
from openemo.evaluation.metrics.sync_own import shift_distances
from openemo.evaluation.networks.face_identity import FaceIdentity
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork
from openemo.face.covered_mouth import is_mouth_covered
from openemo.video.video_writer import VideoWriter

__all__ = ["ClipCutter", "CutClip", "PictureScores", "measure_picture", "thumbnail"]

_LOOKS: Final = 5  # frames of a clip that are looked at as they are
_SMALL_PX: Final = 256  # side of the crops that are kept for lips and motion
_THUMBNAIL_PX: Final = 128
_THUMBNAIL_QUALITY: Final = 70


@dataclass(frozen=True, eq=False)
class CutClip:
    """A clip whose frames are all there.

    Attributes:
        video: the file, without sound.
        points_px: (F, 478, 3) landmarks in the crop.
        looks, look_points_px: some frames as they are, and their landmarks.
        small: all frames at `_SMALL_PX`.
    """

    plan: ClipPlan
    video: Path
    size_px: int
    points_px: NDArray[np.float32]
    looks: tuple[Image, ...]
    look_points_px: NDArray[np.float32]
    small: tuple[Image, ...]


@dataclass(frozen=True, eq=False)
class PictureScores:
    """What was measured in a cut clip.

    Attributes:
        sharpness: median of the looks. covered, text: share of the looks.
        motion: mean change of the face between frames, grey levels.
        loudness_dbfs: without pauses; None for silence.
        curve: see `sync_curve`.
        identity: (128,) mean embedding of the face.
    """

    sharpness: float
    covered: float
    text: float
    motion: float
    loudness_dbfs: float | None
    curve: Doubles | None
    identity: NDArray[np.float32]


class ClipCutter:
    """Takes the frames of one clip in order. What it holds at a time is one clip of small crops."""

    def __init__(self, plan: ClipPlan, size_px: int, video: Path) -> None:
        self.plan, self._size_px, self._video = plan, size_px, video
        self._writer = VideoWriter(video, fps=Fraction(FPS), width=size_px, height=size_px, audio=None)
        self._writer.__enter__()
        count = len(plan.track.points_px)
        self._look_at = set(np.linspace(0, count - 1, _LOOKS + 2).round().astype(int)[1:-1].tolist())
        self._looks: dict[int, Image] = {}
        self._small: list[Image] = []

    def add(self, image: Image) -> None:
        """The next frame of the clip."""
        crop = self.plan.region.extract(image, self._size_px)
        self._writer.write(crop)
        if len(self._small) in self._look_at:
            self._looks[len(self._small)] = crop
        small_px = min(_SMALL_PX, self._size_px)
        small = cv2.resize(crop, (small_px, small_px), interpolation=cv2.INTER_AREA)
        self._small.append(np.asarray(small, np.uint8))

    @property
    def is_whole(self) -> bool:
        return len(self._small) == len(self.plan.track.points_px)

    def close(self) -> None:
        """Gives up the clip."""
        self._writer.__exit__(EOFError, EOFError(), None)

    def finish(self) -> CutClip:
        """After the last frame."""
        self._writer.__exit__(None, None, None)
        x0, y0, x1, _ = self.plan.region.box_px
        corner = np.array((x0, y0, 0), np.float32)
        points = (self.plan.track.points_px - corner) * np.float32(self._size_px / (x1 - x0))
        numbers = sorted(self._looks)
        return CutClip(
            self.plan,
            self._video,
            self._size_px,
            points,
            tuple(self._looks[number] for number in numbers),
            points[numbers],
            tuple(self._small),
        )


@dataclass(frozen=True, eq=False)
class _Speaking:
    """What the synchronisation network reads."""

    frames: tuple[Image, ...]
    fps: float
    points_px: NDArray[np.float32]
    audio: Audio | None


def measure_picture(
    clip: CutClip, audio: Audio | None, identity: FaceIdentity, sync: OwnSyncNetwork
) -> PictureScores:
    """All scores that need pictures or sound.

    Args:
        audio: of the clip, not shifted yet.
    """
    pairs = list(zip(clip.looks, clip.look_points_px, strict=True))
    small_points = clip.points_px * np.float32(clip.small[0].shape[0] / clip.size_px)
    embedded = sync.embed(_Speaking(clip.small, float(FPS), small_points, audio))
    return PictureScores(
        sharpness=float(np.median([sharpness(face_chip(look, points)) for look, points in pairs])),
        covered=float(np.mean([is_mouth_covered(look, points) for look, points in pairs])),
        text=float(np.mean([has_text(look, points) for look, points in pairs])),
        motion=_motion(clip.small, small_points),
        loudness_dbfs=None if audio is None else gated_level_dbfs(audio.samples[0], audio.sample_rate_hz),
        curve=None if embedded is None else sync_curve(np.asarray(shift_distances(embedded), np.float64)),
        identity=np.asarray(identity.embed(clip.looks, clip.look_points_px).mean(0), np.float32),
    )


def _motion(small: tuple[Image, ...], points: NDArray[np.float32]) -> float:
    """Mean absolute change between frames, in the box that holds the face in all of them."""
    side = small[0].shape[0]
    low, high = points[..., :2].min((0, 1)), points[..., :2].max((0, 1))
    x0, y0 = np.clip(np.floor(low), 0, side - 1).astype(int)
    x1, y1 = np.clip(np.ceil(high), 1, side).astype(int)
    greys = [cv2.cvtColor(frame[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY) for frame in small]
    changes = [cv2.absdiff(a, b).mean() for a, b in pairwise(greys)]
    return float(np.mean(changes)) if changes else 0.0


def thumbnail(picture: Image) -> bytes:
    """A small JPEG of a square picture."""
    small = cv2.resize(picture, (_THUMBNAIL_PX, _THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(small[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _THUMBNAIL_QUALITY]
    )
    return bytes(encoded.tobytes())
