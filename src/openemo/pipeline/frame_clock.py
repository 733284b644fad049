"""When the frames of a live stream are due."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Final

__all__ = ["FrameClock"]

_RECOVERY: Final = 0.005  # seconds per second by which a delay that an interruption left is made up
_LATE_S: Final = 0.02


class FrameClock:
    """When frames are due, by `time.monotonic`.

    Attributes:
        behind_s: how long after its sound could be there a frame comes. It grows where a frame is late, so
            that the next ones are in time, and shrinks slowly.
    """

    def __init__(self, fps: Fraction, behind_s: float) -> None:
        self.behind_s = behind_s
        self._fps = float(fps)
        self._start_s: float | None = None

    def moment_s(self, time_s: float) -> float:
        """When a moment of the stream is; its first use starts the clock."""
        if self._start_s is None:
            self._start_s = time.monotonic()
        return self._start_s + time_s

    def give_way(self, late_s: float) -> None:
        """Stands still for as long as the work is late, where it is."""
        if self._start_s is not None and late_s > _LATE_S:
            self._start_s += late_s

    def due_s(self, number: int) -> float:
        """When a frame that is ready is shown."""
        shown_s = self.moment_s(number / self._fps)
        late_s = time.monotonic() - shown_s - self.behind_s
        self.behind_s += late_s if late_s > 0 else -min(_RECOVERY / self._fps, -late_s)
        return shown_s + self.behind_s
