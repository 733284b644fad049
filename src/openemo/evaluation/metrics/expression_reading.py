"""Which emotion a face shows, read from its landmarks by the mean displacements of other people.

Shape letters: F frames, E emotions, P landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from openemo.arrays import Doubles, Floats
from openemo.errors import FaceError
from openemo.evaluation.face_tracks import without_head
from openemo.face.landmarks import BROWS, LEFT_EYE, LIDS, RIGHT_EYE, eye_opening

__all__ = ["UPPER_FACE", "ExpressionReader", "ExpressionReading", "displacement"]

UPPER_FACE: Final = (*BROWS, *RIGHT_EYE, *LEFT_EYE, *LIDS)
_OPEN: Final = 0.75  # of the median opening


@dataclass(frozen=True)
class ExpressionReading:
    """Attributes: emotion: the nearest mean. likeness: cosine with each mean, -1 to 1.
    amplitude: of the displacement along each mean, 1 for the mean itself."""

    emotion: str
    likeness: dict[str, float]
    amplitude: dict[str, float]


class ExpressionReader:
    """Nearest mean by cosine, so that a faint expression has the same name as a strong one."""

    def __init__(self, means: Mapping[str, Doubles], points: tuple[int, ...] = UPPER_FACE) -> None:
        """Displacements (478, 2) in face widths by emotion, of which the landmarks `points` are read."""
        self._points = list(points)
        self._means = {emotion: mean[self._points].ravel() for emotion, mean in means.items()}

    @classmethod
    def of_people(
        cls,
        neutral: Mapping[str, Floats],
        expressive: Mapping[str, Mapping[str, Floats]],
        *,
        without: str | None = None,
        points: tuple[int, ...] = UPPER_FACE,
    ) -> ExpressionReader:
        """The means over people.

        Args:
            neutral: landmarks (478, 3) by person. expressive: by emotion and person.
            without: a person who is left out, because the face that is read is theirs.
        """
        people = [person for person in neutral if person != without]
        means = {
            emotion: np.mean(
                [displacement(neutral[person][None], of[person][None]) for person in people], axis=0
            )
            for emotion, of in expressive.items()
        }
        return cls(means, points)

    def mean(self, emotion: str) -> Doubles:
        """(P, 2) displacement of the landmarks that are read."""
        return self._means[emotion].reshape(-1, 2)

    def read(self, moved: Doubles) -> ExpressionReading:
        """Reads a displacement (478, 2) in face widths."""
        vector = moved[self._points].ravel()
        size = float(np.linalg.norm(vector))
        likeness, amplitude = {}, {}
        for emotion, mean in self._means.items():
            along = float(vector @ mean)
            amplitude[emotion] = along / float(mean @ mean)
            likeness[emotion] = along / (size * float(np.linalg.norm(mean))) if size else 0.0
        return ExpressionReading(max(likeness, key=lambda emotion: likeness[emotion]), likeness, amplitude)


def displacement(neutral_px: Floats, expressive_px: Floats) -> Doubles:
    """(478, 2) mean movement of the landmarks in face widths, right and down, with the head held still.

    Args:
        neutral_px, expressive_px: (F, 478, 3) landmarks of one person, of pictures or of videos. Frames at
            blinks are left out: shut eyes are of no emotion.

    Raises:
        FaceError: one of them has no frame with a face.
    """
    count = len(neutral_px)
    still = without_head(np.concatenate([neutral_px, expressive_px]))
    means = [_mean_open(still[:count]), _mean_open(still[count:])]
    return np.asarray(means[1] - means[0])


def _mean_open(still: Doubles) -> Doubles:
    """(478, 2) mean over the frames with open eyes."""
    seen = still[np.isfinite(still).all(axis=(1, 2))]
    if not len(seen):
        raise FaceError("no face in the video", expected="frames with a face, to read its expression")
    opening = np.array([np.mean(eye_opening(frame)) for frame in seen])
    return np.asarray(seen[opening >= _OPEN * np.median(opening), :, :2].mean(axis=0))
