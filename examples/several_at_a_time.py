"""Several videos at a time from asyncio. The event loop stays free, as a server needs it.

    python examples/several_at_a_time.py portrait.jpg out_folder voice1.wav voice2.mp3 ...

One pipeline serves all. Two videos at a time keep the cores busy; each more needs its own memory.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from openemo import EmoPipeline
from openemo.pipeline.output import Animation

AT_A_TIME = 2


class _StoppedError(Exception):
    """Ends the work in a thread, which cannot be cancelled from outside."""


async def save(animation: Animation, path: Path) -> Path:
    """Write the video in a thread. A cancelled task waits for it, and leaves no half-written file."""
    stop = threading.Event()

    def check(done: int, total: int) -> None:
        if stop.is_set():
            raise _StoppedError

    work = asyncio.ensure_future(asyncio.to_thread(animation.save, path, progress=check))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.gather(work, return_exceptions=True)
        raise


async def animate_all(
    pipeline: EmoPipeline, portrait: Path, folder: Path, voices: Sequence[Path]
) -> list[Path]:
    """Write one video per voice into `folder`."""
    free = asyncio.Semaphore(AT_A_TIME)

    async def animate(voice: Path) -> Path:
        async with free:
            animation = await asyncio.to_thread(pipeline, portrait, voice, framing="crop", size_px=256)
            return await save(animation, folder / f"{voice.stem}.mp4")

    return await asyncio.gather(*map(animate, voices))


if __name__ == "__main__":
    portrait, folder, *voices = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = EmoPipeline.from_pretrained("embedded")
    print(*asyncio.run(animate_all(pipeline, portrait, folder, voices)), sep="\n")
