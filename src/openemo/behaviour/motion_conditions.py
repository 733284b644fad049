"""What of a person's behaviour the denoising network is told: weak conditions, as the speed of the head is.

EMO leaves all of it to the noise, and the speed of the head to its speed layers (EMO 3.2). A small network
without these conditions learns the mean of what it cannot know, and the mean of all motion is a statue.
Brows and emotions reach the network as a picture instead, see `openemo.rendering.expression_flow`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.behaviour.tracks import HEAD_AXES, Behaviour

__all__ = ["MOTION_CONDITIONS", "MOTION_CONDITION_UNITS", "motion_conditions"]

MOTION_CONDITIONS: Final = HEAD_AXES
MOTION_CONDITION_UNITS: Final = np.array([4, 4, 3, 0.05, 0.05, 0.03])
"""What counts as 1, in the units of `Behaviour`."""


def motion_conditions(behaviour: Behaviour) -> NDArray[np.float32]:
    """(F, K) values in the order of `MOTION_CONDITIONS`; 0 for the portrait as it is."""
    return np.asarray(behaviour.head_F6 / MOTION_CONDITION_UNITS, np.float32)
