"""Behaviour of a person over the frames of a video, in units that a viewer could measure.

Shape letters: F frames, E emotions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np

from openemo.arrays import Floats

__all__ = ["EMOTIONS", "HEAD_AXES", "Behaviour"]

EMOTIONS: Final = ("happy", "sad", "angry", "surprised", "disgusted", "afraid", "smug")
HEAD_AXES: Final = ("yaw", "pitch", "roll", "right", "down", "closer")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Zero everywhere is the portrait as it is.

    Attributes:
        head_F6: in the order of `HEAD_AXES`, relative to the portrait's pose. Yaw, pitch and roll in degrees
            with the signs of `HeadPose` (nose to the right of the picture, nose up, leaning clockwise); right
            and down in face widths; closer is the logarithm of the scale.
        torso_F2: right and down, of shoulders and chest, in face widths; breath included.
        brows_F: how far both brows are raised, in face widths; below zero lowered.
        gaze_F2: right and down, of the irises from where they are in the portrait, in widths of the eye.
        eyes_closed_F2: how far the lids are closed, 0 open to 1 shut, of the eye on the left of the picture
            and of that on the right.
        expression_FE: strength of each of `EMOTIONS`, 0 to 1.
    """

    head_F6: Floats
    torso_F2: Floats
    brows_F: Floats
    gaze_F2: Floats
    eyes_closed_F2: Floats
    expression_FE: Floats

    def __len__(self) -> int:
        """The number of frames."""
        return len(self.head_F6)

    @classmethod
    def neutral(cls, num_frames: int) -> Self:
        """The portrait as it is, for so many frames."""
        shapes = ((6,), (2,), (), (2,), (2,), (len(EMOTIONS),))
        return cls(*(np.zeros((num_frames, *shape)) for shape in shapes))

    def frames(self, start: int, stop: int) -> Self:
        """A part of the frames."""
        return type(self)(*(getattr(self, field.name)[start:stop] for field in fields(self)))

    def after(self, num_frames: int) -> Self:
        """The same after so many frames of the portrait as it is."""
        before = self.neutral(num_frames)
        pairs = ((getattr(before, field.name), getattr(self, field.name)) for field in fields(self))
        return type(self)(*(np.concatenate(pair) for pair in pairs))
