"""Random blinks and small head movements.

Their statistics are those of people who speak while they sit (GRID corpus): the eyelids close within two
frames at 25 fps and open in about a quarter of a second. The head drifts with a correlation time of about
half a second.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.face.motion_conditions import MOTION_CONDITIONS
from openemo.face.smooth_noise import smooth_noise, unit_gain

__all__ = ["random_blinks", "random_motion_conditions"]

_CLOSING_S, _CLOSED_S, _OPENING_S = 0.06, 0.08, 0.07  # the last is the time constant of an exponential
_MIN_PAUSE_S: Final = 0.8  # between blinks
_DRIFT_SIGMA_S: Final = 0.25  # of the Gaussian filter


def random_motion_conditions(
    num_frames: int,
    fps: Fraction,
    *,
    head_motion: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(num_frames, 5), see `openemo.face.motion_conditions`; the first frame has the portrait's head pose.

    The condition for the eyes is 0. In training it tells the network which blinks do not depend on the audio.
    In inference the network is not asked for blinks, because its lids stop halfway; `rendering.eyelids`
    closes the eyes.

    Args:
        head_motion: standard deviation of the head motion, 1 as in the corpus, 0 for none.
    """
    motion_conditions = np.zeros((num_frames, len(MOTION_CONDITIONS)), np.float32)
    motion_conditions[:, 1:] = head_motion * _drift(num_frames, float(fps), rng)
    return motion_conditions


def random_blinks(
    num_frames: int, fps: Fraction, *, per_minute: float, rng: np.random.Generator
) -> NDArray[np.floating]:
    """(num_frames,) how far the eyes are closed, 0 open to 1 closed.

    Args:
        per_minute: mean number of blinks; 0 for none.
    """
    times_s = np.arange(num_frames) / float(fps)
    closed = np.zeros(len(times_s))
    if per_minute <= 0 or not len(times_s):
        return closed
    # The distribution of pauses is skewed: many short ones and a few long ones.
    pause_s = 60 / per_minute
    min_pause_s = min(_MIN_PAUSE_S, pause_s / 2)
    start_s = rng.uniform(0.3, 1) * pause_s
    while start_s < times_s[-1]:
        since_s = times_s - start_s
        closing = np.clip(since_s / _CLOSING_S, 0, 1)
        opening = np.exp(-np.clip(since_s - _CLOSING_S - _CLOSED_S, 0, None) / _OPENING_S)
        closed = np.maximum(closed, closing * opening)
        start_s += min_pause_s + rng.gamma(2, (pause_s - min_pause_s) / 2)
    return closed


def _drift(num_frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """(F, 4) smooth noise of unit standard deviation that starts at zero."""
    sigma = max(1.0, _DRIFT_SIGMA_S * fps)
    smooth = smooth_noise(num_frames, len(MOTION_CONDITIONS) - 1, sigma, rng, margin=int(4 * sigma))
    smooth *= unit_gain(sigma, is_truncated=True)
    # The video starts with the pose of the portrait.
    return np.asarray(smooth - smooth[:1] * np.exp(-np.arange(num_frames) / fps)[:, None])
