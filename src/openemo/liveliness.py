"""Blinks and small head movements to go with a voice, drawn from a seed.

Their statistics are those of people who speak while they sit (GRID corpus): lids fall within two frames of
25 per second and rise in about a quarter of a second; the head drifts, with memory of about half a second.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.face.gestures import GESTURES

__all__ = ["draw_blinks", "draw_gestures"]

_CLOSING_S, _CLOSED_S, _OPENING_S = 0.06, 0.08, 0.07  # the last is the time in which two thirds are opened
_SHORTEST_GAP_S: Final = 0.8
_MEMORY_S: Final = 0.25


def draw_gestures(
    num_frames: int,
    fps: Fraction,
    *,
    head_motion: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(num_frames, 5) gestures, see `openemo.face.gestures`; the first frame holds the portrait's own head.

    The eyes' is 0: in training it tells the network which blinks are none of the sound's. It is not asked for
    any, since its lids stop halfway; `openemo.lids` shuts them.

    Args:
        head_motion: spread of the head's movement, 1 as in the corpus, 0 for none.
    """
    gestures = np.zeros((num_frames, len(GESTURES)), np.float32)
    gestures[:, 1:] = head_motion * _drift(num_frames, float(fps), rng)
    return gestures


def draw_blinks(
    num_frames: int, fps: Fraction, *, per_minute: float, rng: np.random.Generator
) -> NDArray[np.floating]:
    """(num_frames,) how far the lids are down, 0 open to 1 shut.

    Args:
        per_minute: blinks on average; 0 for none.
    """
    times_s = np.arange(num_frames) / float(fps)
    down = np.zeros(len(times_s))
    if per_minute <= 0 or not len(times_s):
        return down
    # Pauses between blinks are skewed: many short ones and a few long ones.
    pause_s = 60 / per_minute
    shortest_s = min(_SHORTEST_GAP_S, pause_s / 2)
    start_s = rng.uniform(0.3, 1) * pause_s
    while start_s < times_s[-1]:
        since_s = times_s - start_s
        closing = np.clip(since_s / _CLOSING_S, 0, 1)
        opening = np.exp(-np.clip(since_s - _CLOSING_S - _CLOSED_S, 0, None) / _OPENING_S)
        down = np.maximum(down, closing * opening)
        start_s += shortest_s + rng.gamma(2, (pause_s - shortest_s) / 2)
    return down


def _drift(num_frames: int, fps: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """(F, 4) smooth noise of unit spread that starts at zero."""
    width = max(1.0, _MEMORY_S * fps)
    reach = int(4 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    noise = rng.standard_normal((num_frames + 2 * reach, len(GESTURES) - 1))
    smooth = np.stack([np.convolve(column, kernel, "valid") for column in noise.T], 1)
    # From rest: the video begins as the portrait.
    return np.asarray(smooth - smooth[:1] * np.exp(-np.arange(num_frames) / fps)[:, None])
