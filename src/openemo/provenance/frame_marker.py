"""Marks the frames of a video one after the other, as a `Marking` asks."""

from __future__ import annotations

from fractions import Fraction

from openemo.arrays import Image
from openemo.provenance.badge import Badge
from openemo.provenance.marking import Marking
from openemo.provenance.watermark import Watermark

__all__ = ["FrameMarker"]


class FrameMarker:
    """Watermark and badge of one video.

        marker = FrameMarker(Marking(), mark_id=animation.origin.mark_id, fps=animation.fps)
        for frame in animation:
            show(marker.mark(frame))

    Args:
        mark_id: the watermark's number, 32 bits.
    """

    def __init__(self, marking: Marking, *, mark_id: int, fps: Fraction) -> None:
        self._watermark = Watermark(mark_id) if marking.watermark else None
        self._badge = Badge(fps) if marking.badge else None
        self._number = 0

    def mark(self, frame: Image) -> Image:
        """The next frame (height, width, 3 or 4) uint8, marked; the given one stays as it is."""
        if self._watermark is not None:
            frame = self._watermark.mark(frame)
        if self._badge is not None:
            frame = self._badge.draw(frame, self._number)
        self._number += 1
        return frame
