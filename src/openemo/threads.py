"""How those who work on a video at the same time share the cores.

| who | what it does | threads |
|---|---|---|
| torch | networks, in the thread that works ahead | half of the cores, at least one |
| OpenCV | pictures, in that thread and in the one that takes the frames | half of the cores, at least one |
| x264 | encodes | its own, which sleep while they wait |
| onnxruntime | faces, pitch | one, see `onnx_session.py` |

On two cores each has one thread, and nobody waits for half of a team. Where OpenMP has a team, its threads
sleep while they wait: by default they spin, and beside one other busy process two such threads take 2.6
times as long as one.
"""

from __future__ import annotations

import os
import sys

__all__ = ["num_cores", "share_cores"]


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(cores: int | None = None) -> None:
    """Set the threads of the libraries above, for a program whose work is one video at a time.

    They read it when they are loaded: after torch this does nothing. What the user has set stays.

    Args:
        cores: None takes all that this process may use.
    """
    if "torch" in sys.modules:
        return
    half = str(max(1, (cores or num_cores()) // 2))
    os.environ.setdefault("OMP_NUM_THREADS", half)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", half)
