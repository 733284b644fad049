"""Starts the workers of a server, and new ones for those that died."""

from __future__ import annotations

import logging
import multiprocessing
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from openemo.serving.api.api_settings import ApiSettings
from openemo.serving.api.job_store import JobStore
from openemo.serving.api.video_worker import run_worker

__all__ = ["WorkerProcesses"]

_log: Final = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_SHORT_LIFE_S: Final = 20.0
_LONGEST_PAUSE_S: Final = 30.0
_LAST_WORDS_S: Final = 10.0


@dataclass(slots=True)
class _Process:
    name: str
    process: Any
    connection: Connection
    started_s: float


class WorkerProcesses:
    """`settings.workers` of them, kept alive by a thread."""

    def __init__(self, store: JobStore, settings: ApiSettings) -> None:
        self._store, self._settings = store, settings
        self._is_over = threading.Event()
        self._pause_s = 1.0
        self._processes = [self._start() for _ in range(settings.workers)]
        self._thread = threading.Thread(target=self._look, name="openemo-workers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Each finishes its video if it can within `grace_s`, and gives it back otherwise."""
        self._is_over.set()
        self._thread.join()
        for one in self._processes:
            with suppress(OSError):  # it has just died
                one.connection.send_bytes(b"stop")
        end_s = time.monotonic() + self._settings.grace_s + _LAST_WORDS_S
        for one in self._processes:
            one.process.join(max(0.0, end_s - time.monotonic()))
            if one.process.is_alive():
                one.process.kill()
                one.process.join()
            one.connection.close()
            self._store.release(one.name)

    def _start(self) -> _Process:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        name = f"worker-{secrets.token_hex(6)}"
        process = context.Process(target=run_worker, args=(name, self._settings, theirs), name=name)
        process.start()
        theirs.close()  # so that the end of either is seen
        return _Process(name, process, ours, time.monotonic())

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_S):
            for place, one in enumerate(self._processes):
                if one.process.is_alive():
                    continue
                one.connection.close()
                _log.warning("a worker ended with code %s; another one is started", one.process.exitcode)
                try:
                    self._store.release(one.name)
                except Exception:  # a database that is away for a moment; the lease ends by itself
                    _log.exception("the job of a dead worker could not be released")
                if self._is_over.wait(self._pause(one)):
                    return
                self._processes[place] = self._start()

    def _pause(self, dead: _Process) -> float:
        """Longer each time where workers die as soon as they live."""
        is_short = time.monotonic() - dead.started_s < _SHORT_LIFE_S
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if is_short else 0.5
        return self._pause_s / 2 if is_short else 0.0
