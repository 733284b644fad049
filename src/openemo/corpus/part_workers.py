"""Shares the files of a build between processes of this machine.

A file is a task of its own; a long one is several. What they make they leave in the folder of the build, and
nothing comes back to whoever shares: so memory does not grow with the source.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Final

from openemo.corpus.build_folder import BuildFolder, note_failure
from openemo.corpus.build_settings import BuildSettings
from openemo.corpus.source_files import SourceFile
from openemo.threads import share_cores

__all__ = ["Task", "run_tasks", "tasks_of"]

_TASK_BYTES: Final = 2**28  # of a file that one task takes
_AHEAD: Final = 4  # tasks that wait for each worker
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Task:
    """The parts number `share`, `share` + `of`, ... of a file."""

    source: SourceFile
    share: int
    of: int


def tasks_of(source: SourceFile) -> Iterator[Task]:
    of = max(1, math.ceil(source.size / _TASK_BYTES))
    return (Task(source, share, of) for share in range(of))


@dataclass(frozen=True)
class _Work:
    """What a process does with a task."""

    folder: BuildFolder
    settings: BuildSettings
    sandbox: bool

    def __call__(self, task: Task) -> None:
        from openemo.corpus.part_making import make_source  # all networks: not for the manager

        make_source(
            task.source, self.folder, self.settings, share=task.share, of=task.of, sandbox=self.sandbox
        )


def run_tasks(
    tasks: Iterable[Task],
    folder: BuildFolder,
    settings: BuildSettings,
    *,
    workers: int,
    sandbox: bool,
    progress: Progress,
) -> None:
    """In processes of this machine. A task that ends its process is tried once more, alone; then it is noted.

    Args:
        workers: processes; 0 works in this one.
        progress: is called with the number of tasks that have ended.
    """
    work, waiting, done = _Work(folder, settings, sandbox), iter(tasks), 0
    if workers == 0:
        for done, task in enumerate(waiting, 1):
            work(task)
            progress(done)
        return
    while True:
        done, suspects = _until_one_dies(work, waiting, workers, done, progress)
        if not suspects:
            return
        for task in suspects:
            _alone(work, task)
            done += 1
            progress(done)


def _until_one_dies(
    work: _Work, waiting: Iterator[Task], workers: int, done: int, progress: Progress
) -> tuple[int, list[Task]]:
    """Works until nothing waits, or a process has ended. The number of tasks done, and those begun."""
    running: dict[Future[None], Task] = {}
    lost: list[Task] = []
    with _pool(workers) as pool:
        try:
            while True:
                for task in islice(waiting, _AHEAD * workers - len(running)):
                    lost = [task]
                    running[pool.submit(work, task)] = task
                    lost = []
                if not running:
                    return done, []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    del running[future]
                    done += 1
                    progress(done)
        except BrokenProcessPool:
            return done, [*running.values(), *lost]
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _alone(work: _Work, task: Task) -> None:
    with _pool(1) as pool:
        try:
            pool.submit(work, task).result()
        except BrokenProcessPool:
            note_failure(task.source, work.folder, "the process that worked on it ended, twice")


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)


def _begin() -> None:
    """Of each process: one thread, and an end when the manager is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the manager ends it
    share_cores(1)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
