"""Many videos: processes that each make one at a time, until all are made.

A video appears whole or not at all, so whatever is killed loses only what it was making. A process that ends
in the middle of a job is replaced, and the job is tried once more.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final

from openemo.errors import OpenEmoError, OutputError
from openemo.pipeline.batch_jobs import BatchJob
from openemo.provenance.marking import Marking
from openemo.threads import num_cores, share_cores

__all__ = ["BatchReport", "BatchSettings", "run_batch", "usual_workers"]

_LOG: Final = "batch.jsonl"
_WORKER_BYTES: Final = 3 * 2**29  # with networks, 1.1 GiB in use at 512 px
_TRIES: Final = 2
_STEPS: Final = 1000  # of progress, for each job


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Of all jobs: as of `EmoPipeline.from_pretrained`, of a call and of `Animation.save`."""

    model: str = "embedded"
    device: str = "cpu"
    dtype: str | None = None
    engine: str = "torch"
    max_pixels: int | None = None
    max_seconds: float | None = None
    sandbox: bool = True
    marking: Marking = field(default_factory=Marking)

    @property
    def decides(self) -> dict[str, Any]:
        """What a video depends on."""
        networks = {"model": self.model, "device": self.device, "dtype": self.dtype, "engine": self.engine}
        marking = self.marking
        certificate = None if marking.certificate is None else str(marking.certificate)
        marks = [marking.watermark, marking.credentials, marking.badge, certificate]
        return {**networks, "marking": marks}


@dataclass(slots=True)
class BatchReport:
    """What became of the jobs.

    Attributes:
        done: names of the videos that were made.
        kept: of those that were there already.
        failed: name and reason.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Worker:
    process: Any
    connection: Connection
    job: BatchJob | None = None
    start_s: float = 0.0
    steps: int = 0


def usual_workers(num_jobs: int) -> int:
    """As many as there are cores, jobs, and memory for."""
    workers = min(num_cores(), num_jobs)
    try:  # Linux
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        found = None
    return max(1, workers if found is None else min(workers, 1024 * int(found[1]) // _WORKER_BYTES))


def run_batch(
    jobs: Sequence[BatchJob],
    output: Path,
    *,
    workers: int,
    settings: BatchSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BatchReport:
    """Make the videos that are missing. A job that fails does not stop the others.

    Args:
        output: the folder of the batch. `batch.jsonl` there gets a line for each job that was tried.
        progress: is called with (work done, work in all).

    Raises:
        OutputError: nothing can be written there.
    """
    settings, report = settings or BatchSettings(), BatchReport()
    keys = {job.name: job.key(settings.decides) for job in jobs}
    missing: deque[BatchJob] = deque()
    for job in jobs:
        if job.is_done(keys[job.name]):
            report.kept.append(job.name)
        else:
            missing.append(job)
    if missing:
        try:
            output.mkdir(parents=True, exist_ok=True)
            with (output / _LOG).open("a", encoding="utf-8") as log:
                _Batch(missing, keys, settings, report, progress, log).run(min(workers, len(missing)))
        except OSError as error:
            raise OutputError(f"nothing can be written to {output}", got=str(error)) from error
    return report


class _Batch:
    """The side of the manager."""

    def __init__(
        self,
        missing: deque[BatchJob],
        keys: dict[str, str],
        settings: BatchSettings,
        report: BatchReport,
        progress: Callable[[int, int], None],
        log: Any,
    ) -> None:
        self._missing, self._keys, self._settings = missing, keys, settings
        self._report, self._progress, self._log = report, progress, log
        self._tries: dict[str, int] = {}
        self._total = len(missing) * _STEPS
        self._workers: list[_Worker] = []

    def run(self, workers: int) -> None:
        try:
            while self._missing or any(worker.job for worker in self._workers):
                # One that ended in the middle of a job is heard first.
                self._workers = [one for one in self._workers if one.job or one.process.is_alive()]
                while len(self._workers) < min(workers, len(self._missing) + _num_working(self._workers)):
                    self._workers.append(self._start())
                for worker in self._workers:
                    if worker.job is None and self._missing:
                        self._give(worker, self._missing.popleft())
                working = {worker.connection: worker for worker in self._workers if worker.job}
                for ready in wait(list(working)):
                    self._hear(working[ready])  # type: ignore[index]
                self._show()
        finally:
            for worker in self._workers:
                worker.connection.close()
                worker.process.terminate()
            for worker in self._workers:
                worker.process.join()

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._settings))
        process.start()
        theirs.close()  # so that its end is seen
        return _Worker(process, ours)

    def _give(self, worker: _Worker, job: BatchJob) -> None:
        self._tries[job.name] = self._tries.get(job.name, 0) + 1
        worker.job, worker.start_s, worker.steps = job, time.monotonic(), 0
        with suppress(OSError):  # it has just ended, which is heard
            worker.connection.send((job, self._keys[job.name]))

    def _hear(self, worker: _Worker) -> None:
        job = worker.job
        assert job is not None
        try:
            kind, told = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            self._lost(worker, job)
            return
        if kind == "progress":
            worker.steps = told
        else:
            worker.job = None
            self._note(job, worker, told)

    def _lost(self, worker: _Worker, job: BatchJob) -> None:
        """A process has ended in the middle of a job."""
        worker.job = None
        if job.is_done(self._keys[job.name]):
            self._note(job, worker, None)
        elif self._tries[job.name] < _TRIES:
            self._missing.appendleft(job)
        else:
            self._note(job, worker, f"the process ended with code {worker.process.exitcode}, twice")

    def _note(self, job: BatchJob, worker: _Worker, error: str | None) -> None:
        if error is None:
            self._report.done.append(job.name)
        else:
            self._report.failed.append((job.name, error))
        seconds = round(time.monotonic() - worker.start_s, 2)
        self._log.write(json.dumps({"output": job.name, "error": error, "seconds": seconds}) + "\n")
        self._log.flush()

    def _show(self) -> None:
        ended = (len(self._report.done) + len(self._report.failed)) * _STEPS
        self._progress(ended + sum(worker.steps for worker in self._workers if worker.job), self._total)


def _num_working(workers: Sequence[_Worker]) -> int:
    return sum(worker.job is not None for worker in workers)


def _work(connection: Connection, settings: BatchSettings) -> None:
    """The side of a process: loads the networks once, and makes a video at a time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the manager ends it
    share_cores(1)  # before anything loads torch
    from openemo.devices import find_device, find_dtype
    from openemo.pipeline.emo import EmoPipeline

    pipeline = None
    while True:
        try:
            job, key = connection.recv()
        except (EOFError, OSError):  # the manager has gone
            return
        try:
            if pipeline is None:
                pipeline = EmoPipeline.from_pretrained(
                    settings.model,
                    device=find_device(settings.device),
                    dtype=None if settings.dtype is None else find_dtype(settings.dtype),
                    engine=settings.engine,  # type: ignore[arg-type]
                )
            _make(pipeline, job, key, settings, connection)
            answer = None
        except OpenEmoError as error:
            answer = str(error)
        except Exception as error:
            answer = f"unexpected {type(error).__name__}: {error}"
        try:
            connection.send(("ended", answer))
        except OSError:
            return


def _make(pipeline: Any, job: BatchJob, key: str, settings: BatchSettings, connection: Connection) -> None:
    from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits

    limits = DecodingLimits(
        max_pixels=settings.max_pixels or DEFAULT_LIMITS.max_pixels,
        max_seconds=settings.max_seconds or DEFAULT_LIMITS.max_seconds,
    )
    job.begin(key)
    animation = pipeline(
        job.options.portrait,
        job.options.audio,
        motion_from=job.options.motion_from,
        motion_style_from=job.options.motion_style_from,
        limits=limits,
        sandbox=settings.sandbox,
        **job.options.arguments(),
    )
    shown = 0

    def progress(done: int, total: int) -> None:
        nonlocal shown
        steps = done * _STEPS // total
        if steps > shown:
            shown = steps
            connection.send(("progress", steps))

    animation.save(job.path, marking=settings.marking, progress=progress)
