"""Runs an evaluation: plans it, measures clip by clip over processes, goes on where it stopped.

The folder of a report holds `rows/<row>/<clip>.json` with what was measured, beside the videos that were made
for it. A record is used again only if all that it depends on is the same, code and weights included.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from openemo.audio.reading import read_audio
from openemo.errors import InputError, OpenEmoError
from openemo.evaluation import rows
from openemo.evaluation.clips import Clip, pair_voices
from openemo.evaluation.jobs import Settings, require_video
from openemo.evaluation.measuring import measure_clip, recorded
from openemo.evaluation.records import Measured
from openemo.video.reading import probe

__all__ = ["measure"]

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


def measure(
    settings: Settings, clips: list[Clip], workers: int = 1, progress: Progress | None = None
) -> tuple[Measured, dict[str, str]]:
    """Measure all rows of all clips.

    Args:
        workers: processes; each holds the networks once (about 1 GB for the embedded model).

    Returns:
        what was measured, and the reason for each clip that was left out, by its name.

    Raises:
        InputError: no clip can be used. CheckpointError, OutputError: as the networks and the folder say.
    """
    failures = {clip.name: reason for clip in clips if (reason := _unusable(settings, clip)) is not None}
    usable = pair_voices([clip for clip in clips if clip.name not in failures])
    for done, (clip, reason) in enumerate(_over_processes(settings, usable, workers), 1):
        if reason is not None:
            failures[clip.name] = reason
        if progress is not None:
            progress(done, len(usable))
    measured: Measured = {}
    for clip in usable:
        if clip.name not in failures:
            measured[clip] = recorded(settings, clip)
    if not measured:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(failures.items())[:3])
        raise InputError(f"none of the {len(clips)} clips could be measured", got=reasons.rstrip("."))
    return measured, failures


def _unusable(settings: Settings, clip: Clip) -> str | None:
    """Found before the work starts, so that a clip without sound or video is not another one's voice."""
    try:
        probe(clip.path)
        read_audio(clip.path)
        for row in (rows.VIDEOS, rows.SILENCE):
            if settings.videos is not None and row in settings.rows:
                require_video(settings, clip, row)
    except InputError as error:
        return str(error)
    return None


def _over_processes(settings: Settings, clips: list[Clip], workers: int) -> Iterator[tuple[Clip, str | None]]:
    """Each clip, in the order in which they get ready, with the reason why it could not be measured."""
    if workers == 1:
        for clip in clips:
            yield clip, measure_clip(settings, clip)
        return
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_limit_threads, initargs=(threads,)
    ) as pool:
        waiting: dict[Future[str | None], Clip] = {
            pool.submit(measure_clip, settings, clip): clip for clip in clips
        }
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise OpenEmoError(
                "a worker process was killed", got="most often too little memory", fix="Use fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _limit_threads(count: int) -> None:
    """Of a worker; more threads than cores make all of them slow."""
    import torch

    torch.set_num_threads(count)
