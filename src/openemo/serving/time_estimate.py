"""How long a video will take, before it is begun."""

from __future__ import annotations

import threading
from typing import Final

__all__ = ["TimeEstimate", "spoken_time"]

# Seconds before the first frame, per frame, and per megapixel of a frame: the embedded model on two cores,
# see docs/performance.md.
_FIRST_S: Final = 1.5
_FRAME_S: Final = 0.03
_MEGAPIXEL_S: Final = 0.05


class TimeEstimate:
    """Learns from the videos that were made how fast this machine is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slowness = 1.0

    def seconds(self, num_frames: int, width: int, height: int) -> float:
        """Expected time for a video of this size."""
        with self._lock:
            return self._slowness * _expected_s(num_frames, width, height)

    def learn(self, num_frames: int, width: int, height: int, seconds: float) -> None:
        """Take over what one video took. The last one counts: other programs come and go."""
        with self._lock:
            self._slowness = seconds / _expected_s(num_frames, width, height)


def _expected_s(num_frames: int, width: int, height: int) -> float:
    return _FIRST_S + num_frames * (_FRAME_S + _MEGAPIXEL_S * width * height / 1e6)


def spoken_time(seconds: float) -> str:
    """As a person says it: "about 40 seconds", "about 3 minutes"."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 55:
        return f"about {5 * round(seconds / 5)} seconds"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} minute{'s' * (minutes > 1)}" if minutes else "about 1 minute"
    return f"about {seconds / 3600:.1f} hours"
