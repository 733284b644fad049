"""What a face does that no sound tells: blinks, and the small movements of a head that speaks.

EMO leaves both to the noise (and the pace of the head to its speed layers, EMO 3.2). A small network learns
the mean of what it cannot know, and the mean of all blinks is a stare; so they are weak conditions here, as
speed is. When a portrait is animated, only the head is asked for: `openemo.lids` shuts the eyes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.face.geometry import STABLE, eye_opening, face_width_px
from openemo.face.similarity import fit_similarity

__all__ = ["GESTURES", "GESTURE_UNITS", "gestures", "lid_gap"]

Floats = NDArray[np.floating]

GESTURES: Final = ("eyes", "right", "down", "closer", "roll")
# What counts as 1: lid gap over eye width; shift over face width, twice; logarithm of the scale; radians. The
# spread of the last four in clips of people who speak while they sit.
GESTURE_UNITS: Final = np.array([0.1, 0.008, 0.008, 0.006, 0.004])


def gestures(reference: Floats, points: Floats) -> NDArray[np.float32]:
    """(5,) values in the order of `GESTURES`, 0 for a face as in the reference.

    Args:
        reference, points: (478, 2 or more) landmarks of the portrait and of a frame, in the same units.
    """
    start, now = (np.asarray(face[:, :2], np.float64) for face in (reference, points))
    stable = list(STABLE)
    head = fit_similarity(start[stable], now[stable]).matrix
    shift = (now[stable] - start[stable]).mean(0) / face_width_px(start)
    closer, roll = np.log(np.hypot(head[0, 0], head[1, 0])), np.arctan2(head[1, 0], head[0, 0])
    return np.asarray(
        np.array([lid_gap(now) - lid_gap(start), *shift, closer, roll]) / GESTURE_UNITS, np.float32
    )


def lid_gap(points: Floats) -> float:
    """Mean of both eyes' lid gap over eye width: about 0.3 open, under 0.12 shut."""
    return float(np.mean(eye_opening(points)))
