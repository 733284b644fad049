"""A process that makes the videos of the jobs, one at a time."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from openemo.files import temporary_folder
from openemo.serving.api.api_database import open_database
from openemo.serving.api.api_errors import error_code
from openemo.serving.api.api_settings import ApiSettings
from openemo.serving.api.job_files import JobFiles
from openemo.serving.api.job_store import JobStore, StoredJob
from openemo.serving.api.json_logs import log_as_json
from openemo.serving.api.model_loading import load_model
from openemo.serving.api.video_request import CLIPS, PORTRAIT, SOUND, VideoForm
from openemo.serving.time_estimate import TimeEstimate
from openemo.serving.video_jobs import VideoJob, VideoMaker
from openemo.threads import num_cores, share_cores

__all__ = ["VideoWorker", "run_worker"]

_log: Final = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.25
_TELL_EVERY_S: Final = 1.0
_SHOW_UP_EVERY_S: Final = 5.0


class VideoWorker:
    """Takes jobs until it is told to stop.

    Args:
        name: of this process, of letters, digits and hyphens.
        maker: whose folder is on the file system of the data.
        stop: when set, no new job is taken, and the present one has `grace_s` left.
        abandon: when set, the present job is given back at once.
    """

    def __init__(
        self,
        name: str,
        store: JobStore,
        files: JobFiles,
        maker: VideoMaker,
        settings: ApiSettings,
        stop: threading.Event,
        abandon: threading.Event | None = None,
    ) -> None:
        self._name, self._store, self._files, self._maker = name, store, files, maker
        self._settings, self._stop, self._abandon = settings, stop, abandon or threading.Event()
        self._stopped_s: float | None = None
        self._shown_up_s = -_SHOW_UP_EVERY_S

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._stop.is_set():
            self._show_up()
            job = self._store.claim(
                self._name, lease_s=self._settings.lease_s, max_attempts=self._settings.max_attempts
            )
            if job is None:
                self._stop.wait(_LOOK_EVERY_S)
            else:
                self._make(job)

    def _make(self, job: StoredJob) -> None:
        form, inputs = VideoForm(**job.request), self._files.inputs(job)
        clips = {name: inputs[name] for name in CLIPS if name in inputs}
        options = form.arguments() | clips
        start_s = time.monotonic()
        video = self._maker.submit(inputs[PORTRAIT], inputs[SOUND], form.format, options)
        reason = self._watch(job, video, start_s)
        made = {**_made(video), "work_s": round(time.monotonic() - start_s, 3)}
        if video.state == "done":
            self._keep(job, video, made)
        elif video.state == "failed":
            assert video.error is not None
            message = str(video.error).replace(f"{inputs[PORTRAIT].parent}/", "")
            self._store.fail(job, code=error_code(video.error), message=message)
            self._files.delete_inputs(job)
        elif reason == "stopped":
            self._store.give_back(job)
        elif reason == "late":
            message = f"it took over {self._settings.max_job_s:g} s."
            self._store.fail(job, code="took_too_long", message=message)
            self._files.delete_inputs(job)

    def _watch(self, job: StoredJob, video: VideoJob, start_s: float) -> str | None:
        """Waits for the video, and keeps the lease. Returns why it was cancelled."""
        reason, told_s = None, time.monotonic()
        while not video.is_over:
            time.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            if now - told_s >= _TELL_EVERY_S and reason is None:
                told_s = now
                self._show_up()
                if not self._store.renew(
                    job,
                    lease_s=self._settings.lease_s,
                    frames_done=video.done,
                    made=_made(video) if video.total else None,
                ):
                    reason = "lost"
            if self._must_stop(now):
                reason = reason or "stopped"
            if now - start_s > self._settings.max_job_s:
                reason = reason or "late"
            if reason is not None:
                video.cancel()
        return reason

    def _must_stop(self, now: float) -> bool:
        if self._abandon.is_set():
            return True
        if not self._stop.is_set():
            return False
        self._stopped_s = now if self._stopped_s is None else self._stopped_s
        return now - self._stopped_s >= self._settings.grace_s

    def _keep(self, job: StoredJob, video: VideoJob, made: dict[str, Any]) -> None:
        """First the files, then the row: a kill in between only makes the video once more."""
        video.files["portrait.jpg"].unlink()
        with suppress(FileNotFoundError):  # the job was deleted
            result = self._files.keep_result(job, video.folder)
            if self._store.complete(job, result=result, made=made):
                self._files.delete_inputs(job)

    def _show_up(self) -> None:
        now = time.monotonic()
        if now - self._shown_up_s >= _SHOW_UP_EVERY_S:
            self._shown_up_s = now
            self._store.is_there(self._name)


def run_worker(name: str, settings: ApiSettings, parent: Connection) -> None:
    """The main function of a process. It ends when `parent` says so, or has died.

    Args:
        parent: the server's end is written to once, when it stops.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the server tells what to do
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if settings.json_logs:
        log_as_json()
    share_cores(max(1, num_cores() // max(1, settings.workers)))  # before anything loads torch
    stop, abandon, is_loaded = threading.Event(), threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(parent, stop, abandon, is_loaded), daemon=True).start()
    pipeline = load_model(settings.model)
    is_loaded.set()
    engine = open_database(settings.url)
    files = JobFiles(settings.data)
    try:
        with temporary_folder(settings.data) as folder:
            maker = VideoMaker(pipeline, folder, limits=settings.limits, estimate=TimeEstimate())
            try:
                store = JobStore(engine)
                VideoWorker(name, store, files, maker, settings, stop, abandon).run()
            finally:
                maker.close()
    finally:
        engine.dispose()


def _listen(
    parent: Connection, stop: threading.Event, abandon: threading.Event, is_loaded: threading.Event
) -> None:
    try:
        parent.recv_bytes()
    except (EOFError, OSError):  # the server was killed: another one may be there already
        abandon.set()
    stop.set()
    if not is_loaded.is_set():  # it has nothing yet, and loading takes seconds
        os._exit(0)


def _made(video: VideoJob) -> dict[str, Any]:
    return {
        "width": video.width,
        "height": video.height,
        "num_frames": video.total,
        "seed": video.seed,
        "duration_s": video.duration_s,
        "warnings": list(video.warnings),
    }
