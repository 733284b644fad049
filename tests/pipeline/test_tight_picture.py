"""Frames of a face that fills its picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from openemo.face import CropRegion
from openemo.pipeline.compositing import HeadMotion, _full_layout, _MovingHead
from openemo.rendering.head_warp import HeadWarp


def test_what_lies_beyond_a_tight_picture_is_not_drawn() -> None:
    """The square in which the head moves is smaller there, and the frames are the same."""
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 255, (25, 20, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    turn = 2 * np.pi * np.arange(478) / 478
    points = 0.5 + 0.1 * np.stack([np.sin(turn), -np.cos(turn)], 1)
    warp = HeadWarp.of(points, np.zeros((64, 64), np.float32), crop=(5 / 18, 5 / 18, 4 / 9))
    layout = _full_layout(picture, CropRegion(np.array([80.0, 100.0]), 240.0), None, None)
    motion = HeadMotion(np.full((2, 32, 32), 0.05), np.array([0.02, 0.02]))
    assert layout.wide < 1.1
    small, whole = (
        _MovingHead.of(one, warp)(layout.picture, motion) for one in (layout, replace(layout, wide=2.25))
    )
    difference = abs(small.astype(int) - whole)
    assert difference.mean() < 0.5
    assert difference.max() < 20  # at edges from black to white
    assert abs(small.astype(int) - picture).max() > 50
