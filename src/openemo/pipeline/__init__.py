"""From one portrait and one voice to frames: the pipeline, its steps, and its result.

Names load on first use, so that importing is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openemo.pipeline.emo import EmoPipeline
    from openemo.pipeline.output import Animation, Frame
    from openemo.pipeline.streaming import LiveFrame, LiveStream

__all__ = ["Animation", "EmoPipeline", "Frame", "LiveFrame", "LiveStream"]

_HOMES = {
    "Animation": "output",
    "EmoPipeline": "emo",
    "Frame": "output",
    "LiveFrame": "streaming",
    "LiveStream": "streaming",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
