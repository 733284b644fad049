"""What the command line prints during and after work."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from openemo.progress_bar import Bar

if TYPE_CHECKING:
    from openemo.pipeline.output import Animation
    from openemo.provenance.marking import Marking

__all__ = ["Stopwatch", "print_notes", "save_with_bar"]


class Stopwatch:
    """Time since the start of a run, and since its networks were loaded."""

    def __init__(self) -> None:
        self._start_s = self._loaded_s = time.perf_counter()

    def loaded(self) -> None:
        self._loaded_s = time.perf_counter()

    def summary(self, animation: Animation) -> str:
        now_s = time.perf_counter()
        return (
            f"{now_s - self._start_s:.1f} s in all, {self._loaded_s - self._start_s:.1f} s of it loading; "
            f"{_peak_memory()}; {(now_s - self._loaded_s) / animation.duration_s:.2f} s per second of video"
        )


def _peak_memory() -> str:
    """Peak memory of the process, and of torch on a CUDA device."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    text = f"at most {peak_bytes / 2**30:.1f} GiB of memory"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        text += f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU"
    return text


def print_notes(notes: Iterable[str]) -> None:
    """Print what the user should know on stderr, one line each."""
    for note in notes:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"openemo: note: {note}", markup=False)


def save_with_bar(animation: Animation, path: Path, marking: Marking) -> None:
    """Save the video, with a progress bar."""
    with Bar("animating") as bar:
        animation.save(path, marking=marking, progress=bar)
