"""Runs an evaluation: measures clip by clip over processes, and continues an interrupted run.

The report's folder holds the record of each clip, `rows/<row>/<clip>.json`, beside the video made for it. A
record is used again only if everything it depends on is the same, including code and weights.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from openemo.audio.audio_reader import read_audio
from openemo.errors import InputError, OpenEmoError
from openemo.evaluation import rows
from openemo.evaluation.benchmark_clips import Clip, pair_voices
from openemo.evaluation.jobs import EvaluationSettings, require_video
from openemo.evaluation.measuring import measure_clip, recorded
from openemo.evaluation.records import Measured
from openemo.video.video_reader import probe

__all__ = ["measure"]

Progress = Callable[[int, int], None]
"""Called with (clips done, clips in all)."""


def measure(
    settings: EvaluationSettings, clips: list[Clip], workers: int = 1, progress: Progress | None = None
) -> tuple[Measured, dict[str, str]]:
    """Measure all rows of all clips.

    Args:
        workers: processes. Each loads the networks, about 1 GB for the embedded model.

    Returns:
        the records, and by name the reason for each clip that was left out.

    Raises:
        InputError: no clip can be used. CheckpointError: a network is missing or damaged. OutputError: the
            folder cannot be written to.
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


def _unusable(settings: EvaluationSettings, clip: Clip) -> str | None:
    """Why a clip cannot be used, found before the work starts: its voice may drive another clip."""
    try:
        probe(clip.path)
        read_audio(clip.path)
        for row in (rows.VIDEOS, rows.SILENCE):
            if settings.videos is not None and row in settings.rows:
                require_video(settings, clip, row)
    except InputError as error:
        return str(error)
    return None


def _over_processes(
    settings: EvaluationSettings, clips: list[Clip], workers: int
) -> Iterator[tuple[Clip, str | None]]:
    """Each clip as soon as it is done, with the reason if it could not be measured."""
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
    """Limit the threads of a worker: more threads than cores slow all workers down."""
    import torch

    torch.set_num_threads(count)
