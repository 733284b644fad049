"""Where a report was made: what readers need to reproduce it and to judge its speed."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy

from openemo import __version__

if TYPE_CHECKING:
    from openemo.evaluation.jobs import EvaluationSettings

__all__ = ["environment"]


def environment(settings: EvaluationSettings, workers: int) -> dict[str, str]:
    """Versions, machine and processes by name."""
    import torch

    speed = f"{workers} worker{'s' if workers > 1 else ''} on {os.cpu_count()} cores"
    if workers > 1:
        speed += ", which share them: speed is that of one worker among these"
    facts = {
        "openemo": __version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "onnxruntime": version("onnxruntime"),
        "machine": f"{platform.system()} {platform.machine()}",
        "processes": speed,
    }
    if settings.videos is None:
        facts |= {"device": settings.device, "number type": settings.dtype}
    return facts
