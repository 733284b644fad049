"""What the face networks find in a video: computed once, read by every metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo import checkpoints
from openemo.arrays import Image
from openemo.audio.audio_reader import Audio, read_audio
from openemo.errors import FaceError, InputError
from openemo.evaluation.networks.face_identity import FaceIdentity
from openemo.face.analyzer import Face, FaceAnalyzer
from openemo.face.landmarks import NUM_POINTS
from openemo.video.video_reader import probe, read_frames

__all__ = ["Observation", "Observer"]


NUM_BLENDSHAPES: Final = 52
_SAME_FPS: Final = 1e-3  # 29.97 and 30 differ by a frame in half a minute


@dataclass(frozen=True, eq=False)
class Observation:
    """A video of F frames and what was found in them. Rows of frames without a face are NaN.

    Attributes:
        frames: (height, width, 3) uint8 RGB each, all of one size.
        fps: frames per second.
        points_px: (F, 478, 3) float32 face landmarks in pixels of the frame.
        blendshapes: (F, 52) float32 expression weights in [0, 1], in MediaPipe's order.
        embeddings: (F, 128) float32 face identity.
        audio: the sound of the frames; None if there is none.
    """

    frames: tuple[Image, ...]
    fps: float
    points_px: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    audio: Audio | None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def has_face(self) -> NDArray[np.bool_]:
        """(F,) whether a face was found in the frame."""
        return np.asarray(np.isfinite(self.points_px).all(axis=(1, 2)), np.bool_)

    def curve(self, measure: Callable[[NDArray[np.float32]], float]) -> NDArray[np.float64]:
        """(F,) `measure` of each frame's landmarks (478, 3); NaN in frames without a face."""
        return np.array(
            [
                measure(points) if seen else np.nan
                for points, seen in zip(self.points_px, self.has_face, strict=True)
            ],
            np.float64,
        )

    def first(self) -> Observation:
        """The first frame alone, without sound: the portrait that a clip is animated from."""
        return self._take([0], self.fps, None)

    def at_fps(self, fps: float) -> Observation:
        """Read at another frame rate: for each new frame, the one shown at its middle."""
        if abs(fps - self.fps) < _SAME_FPS * fps:
            return self
        count = max(1, round(len(self) * fps / self.fps))
        shown = ((np.arange(count) + 0.5) * self.fps / fps).astype(int)
        return self._take([int(index) for index in np.minimum(shown, len(self) - 1)], fps, self.audio)

    def _take(self, indices: list[int], fps: float, audio: Audio | None) -> Observation:
        return Observation(
            tuple(self.frames[index] for index in indices),
            fps,
            self.points_px[indices],
            self.blendshapes[indices],
            self.embeddings[indices],
            audio,
        )


class Observer:
    """Finds face, expression and identity in each frame."""

    def __init__(self, analyzer: FaceAnalyzer, identity: FaceIdentity) -> None:
        self.analyzer, self.identity = analyzer, identity

    @classmethod
    def from_pretrained(cls) -> Observer:
        """With the shipped networks. Raises CheckpointError if one is missing or damaged."""
        folder = checkpoints.resolve(checkpoints.EMBEDDED) / "face"
        return cls(FaceAnalyzer.from_pretrained(folder), FaceIdentity.from_pretrained())

    def __call__(self, frames: Iterable[Image], fps: float, audio: Audio | None) -> Observation:
        """Observe frames that are shown at `fps`. All are kept in memory.

        Raises:
            InputError: there are no frames, or they differ in size.
        """
        kept: list[Image] = []
        points: list[NDArray[np.float32]] = []
        blendshapes: list[NDArray[np.float32]] = []
        face: Face | None = None
        for frame in frames:
            if kept and frame.shape != kept[0].shape:
                raise InputError("frames differ in size", got=frame.shape, expected=str(kept[0].shape))
            # Tracking an equal picture again would move the landmarks a little, but a still has no motion.
            if not (kept and np.array_equal(frame, kept[-1])):
                face = self._find(frame, face)
            kept.append(frame)
            points.append(_nan(NUM_POINTS, 3) if face is None else face.points_px)
            blendshapes.append(_nan(NUM_BLENDSHAPES) if face is None else self.analyzer.blendshapes(face))
        if not kept:
            raise InputError("there are no frames to observe", expected="a video")
        points_px = np.stack(points)
        embeddings = self.identity.embed(kept, points_px)
        return Observation(tuple(kept), fps, points_px, np.stack(blendshapes), embeddings, audio)

    def file(self, path: Path) -> Observation:
        """Observe a video file, with its sound if it has one.

        Raises:
            InputError: the file cannot be read.
        """
        info = probe(path)
        audio = read_audio(path) if info.has_audio else None
        return self(read_frames(path), float(info.fps), audio)

    def _find(self, frame: Image, previous: Face | None) -> Face | None:
        """The face of the frame before if it is still there, else the largest one, else None."""
        face = self.analyzer.track(frame, previous) if previous is not None else None
        if face is None:
            try:
                face = self.analyzer.find(frame)
            except FaceError:
                return None
        return face


def _nan(*shape: int) -> NDArray[np.float32]:
    return np.full(shape, np.nan, np.float32)
