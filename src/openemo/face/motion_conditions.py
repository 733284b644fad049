"""Weak conditions on motion that audio does not determine: blinks, and small movements of a speaking head.

EMO leaves both to the noise, and the speed of the head to its speed layers (EMO 3.2). A small network without
these conditions learns the mean of what it cannot know, and the mean of all blinks is a stare. When a
portrait is animated, only head motion is asked for; the eyes are closed by drawing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.face.landmarks import STABLE, face_width_px, mean_eye_opening
from openemo.face.similarity import fit_similarity

__all__ = ["MOTION_CONDITIONS", "MOTION_CONDITION_UNITS", "motion_conditions"]


MOTION_CONDITIONS: Final = ("eyes", "right", "down", "closer", "roll")
MOTION_CONDITION_UNITS: Final = np.array([0.1, 0.008, 0.008, 0.006, 0.004])
"""What counts as 1: lid gap over eye width; shift over face width, twice; logarithm of the scale; radians.

The last four are the standard deviations in clips of people who speak while they sit.
"""


def motion_conditions(reference: Floats, points: Floats) -> NDArray[np.float32]:
    """(5,) values in the order of `MOTION_CONDITIONS`; 0 for a face as in the reference.

    Args:
        reference, points: (478, 2 or more) landmarks of the portrait and of a frame, in the same unit.
    """
    start, now = (np.asarray(face[:, :2], np.float64) for face in (reference, points))
    stable = list(STABLE)
    head = fit_similarity(start[stable], now[stable]).matrix
    shift = (now[stable] - start[stable]).mean(0) / face_width_px(start)
    closer, roll = np.log(np.hypot(head[0, 0], head[1, 0])), np.arctan2(head[1, 0], head[0, 0])
    eyes = mean_eye_opening(now) - mean_eye_opening(start)
    return np.asarray(np.array([eyes, *shift, closer, roll]) / MOTION_CONDITION_UNITS, np.float32)
