"""One portrait and one voice in, a video of that person speaking out.

Names load on first use, so that importing is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openemo.config import PipelineConfig
    from openemo.errors import OpenEmoError
    from openemo.pipeline.emo import EmoPipeline
    from openemo.pipeline.output import Animation

__all__ = ["Animation", "EmoPipeline", "OpenEmoError", "PipelineConfig", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "Animation": "openemo.pipeline.output",
    "EmoPipeline": "openemo.pipeline.emo",
    "OpenEmoError": "openemo.errors",
    "PipelineConfig": "openemo.config",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'openemo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
