"""Sound on its way from who sends it to who hears it, in threads of their own."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np

from openemo.arrays import Samples

__all__ = ["SoundQueue", "fade_out"]

_FADE_S = 0.01
_SILENT = 0.01  # -40 dBFS: pauses of this level may be shortened


class SoundQueue:
    """Mono samples in order. All methods may be called from any thread.

    Args:
        max_queue_s: more than this is not kept: pauses are left out until it fits, and of a second and more
            beyond it the oldest sound too. None keeps all.
    """

    def __init__(self, sample_rate_hz: int, *, max_queue_s: float | None = None) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._most = None if max_queue_s is None else round(max_queue_s * sample_rate_hz)
        self._pieces: deque[Samples] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._is_ended = self._is_closed = False

    def __len__(self) -> int:
        """Samples that wait."""
        return self._waiting

    @property
    def is_ended(self) -> bool:
        """Whether no more will come."""
        return self._is_ended

    @property
    def is_closed(self) -> bool:
        """Whether nobody will take anything more."""
        return self._is_closed

    def send(self, samples: Samples) -> None:
        """Appends (num_samples,) in [-1, 1]; after `end` and `close` they are dropped."""
        with self._changed:
            if self._is_ended or self._is_closed or not len(samples):
                return
            self._pieces.append(samples)
            self._waiting += len(samples)
            self._shorten()
            self._changed.notify_all()

    def end(self) -> None:
        """No more will come."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Ends all waiting."""
        with self._changed:
            self._is_ended = self._is_closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Drops what waits."""
        with self._changed:
            self._pieces.clear()
            self._waiting = 0
            self._changed.notify_all()

    def wait_until(self, moment_s: float) -> None:
        """Waits for a moment of `time.monotonic`, or for `close`."""
        with self._changed:
            while not self._is_closed and (left_s := moment_s - time.monotonic()) > 0:
                self._changed.wait(left_s)

    def take(self, count: int, deadline_s: float | None = None) -> Samples:
        """The next samples: `count`, or fewer where the sound ends or the deadline passes.

        Args:
            deadline_s: of `time.monotonic`; None waits for ever.
        """
        with self._changed:
            while self._waiting < count and not self._is_ended:
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            return self._pop(min(count, self._waiting))

    def _pop(self, count: int) -> Samples:
        parts = [np.zeros(0, np.float32)]
        self._waiting -= count
        while count:
            piece = self._pieces.popleft()
            if len(piece) > count:
                self._pieces.appendleft(piece[count:])
                piece = piece[:count]
            parts.append(piece)
            count -= len(piece)
        return np.concatenate(parts)

    def _shorten(self) -> None:
        """Keeps the queue within its bound."""
        if self._most is None or self._waiting <= self._most:
            return
        excess = self._waiting - self._most
        whole = self._pop(self._waiting)
        block = self.sample_rate_hz // 100
        blocks = whole[: len(whole) // block * block].reshape(-1, block)
        is_silent = np.abs(blocks).max(1) < _SILENT
        # In the middle of a pause nobody hears the joint.
        is_inside = is_silent & np.roll(is_silent, 1) & np.roll(is_silent, -1)
        dropped = np.flatnonzero(is_inside)[: -(-excess // block)]
        kept = np.concatenate([np.delete(blocks, dropped, 0).ravel(), whole[blocks.size :]])
        over = len(kept) - self._most - self.sample_rate_hz
        kept = kept[max(0, over) :]
        self._pieces.append(kept)
        self._waiting = len(kept)


def fade_out(samples: Samples, sample_rate_hz: int) -> Samples:
    """The same length: silence after a short fade, without a click."""
    faded = np.zeros_like(samples)
    count = min(len(samples), round(_FADE_S * sample_rate_hz))
    faded[:count] = samples[:count] * np.linspace(1, 0, count, dtype=np.float32)
    return faded
