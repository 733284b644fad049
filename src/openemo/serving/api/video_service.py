"""What the routes do: who asks, what is accepted, what is told of a job."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request

from openemo.serving.api.api_errors import ApiError
from openemo.serving.api.api_keys import NOBODY, ApiKey, ApiKeys, RequestRates
from openemo.serving.api.api_settings import ApiSettings
from openemo.serving.api.job_files import JobFiles
from openemo.serving.api.job_store import JobStore, NewJob, StoredJob
from openemo.serving.api.video_objects import Video, VideoList, video_of
from openemo.serving.api.video_request import RequestLimits, VideoRequest, check_request, read_request

__all__ = ["VideoService"]

_DECODED_AT_A_TIME: Final = 2  # each may take `max_memory_bytes`
_UPLOADS_AT_A_TIME: Final = 4  # of one key
_WATCHERS_AT_A_TIME: Final = 32  # of one key: events and waiting requests
_LOOK_EVERY_S: Final = 0.3
_LONGEST_IDEMPOTENCY_KEY: Final = 255
_LEAST_FREE_BYTES: Final = 2**28


class VideoService:
    """All that a server does with jobs, keys and files.

    Args:
        is_stopping: whether the server is about to end; then it is not ready.
    """

    def __init__(
        self,
        store: JobStore,
        files: JobFiles,
        keys: ApiKeys,
        settings: ApiSettings,
        *,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.store, self.files, self.settings = store, files, settings
        self._keys, self._is_stopping = keys, is_stopping
        self._rates = RequestRates()
        self._decoding = asyncio.Semaphore(_DECODED_AT_A_TIME)
        self._uploads: Counter[str] = Counter()
        self._watchers: Counter[str] = Counter()
        self._limits = RequestLimits(
            settings.limits, settings.max_size_px, settings.require_consent, settings.model.model
        )

    def admit(self, connection: HTTPConnection) -> ApiKey:
        """Who asks. Raises ApiError for nobody, and for too many requests."""
        key = self._asked_by(connection.headers.get("authorization"))
        connection.state.key_id = key.id
        wait_s = self._rates.wait_s(key)
        if wait_s:
            raise ApiError(
                429,
                "too_many_requests",
                "too many requests",
                expected=f"{key.limits.requests_per_minute} a minute",
                retry_after_s=wait_s,
            )
        return key

    def _asked_by(self, authorization: str | None) -> ApiKey:
        if not self._keys.are_needed:
            return NOBODY
        scheme, _, secret = (authorization or "").partition(" ")
        key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise ApiError(
                401,
                "invalid_api_key",
                "the key is missing or not known",
                expected="Authorization: Bearer KEY",
            )
        return key

    def own(self, key: ApiKey, video_id: str) -> StoredJob:
        """The job. Raises ApiError where there is none, or it is another's: nobody can tell which."""
        job = self.store.find(key, video_id)
        if job is None:
            raise ApiError(404, "video_not_found", "there is no such video", param="video_id")
        return job

    async def accept(self, request: Request, key: ApiKey) -> StoredJob:
        """A new job, which no kill loses from now on; or the one that the same request has made before.

        Raises:
            ApiError: it cannot be accepted.
        """
        idempotency_key = _idempotency_key(request)
        is_known = idempotency_key is not None and await run_in_threadpool(
            self.store.knows, key, idempotency_key
        )
        if not is_known:  # refused before the body is read
            await run_in_threadpool(self.store.check_room, key)
        job_id = f"video_{secrets.token_urlsafe(24)}"
        with _counted(self._uploads, key, _UPLOADS_AT_A_TIME, "uploads"):
            with self.files.incoming(job_id) as folder:
                checked = await self._checked(request, folder)
            try:
                job: StoredJob = await run_in_threadpool(self._added, key, job_id, checked, idempotency_key)
                return job
            except BaseException:
                await asyncio.shield(run_in_threadpool(self._discard, key, job_id))
                raise

    async def _checked(self, request: Request, folder: Path) -> VideoRequest:
        form, names = await read_request(request, folder)
        async with self._decoding:
            checked: VideoRequest = await run_in_threadpool(check_request, form, names, folder, self._limits)
            return checked

    def _added(
        self, key: ApiKey, job_id: str, checked: VideoRequest, idempotency_key: str | None
    ) -> StoredJob:
        new = NewJob(
            job_id,
            checked.form.model_dump(),
            checked.files,
            checked.sound_s,
            checked.sha256,
            idempotency_key,
        )
        job = self.store.add(key, new)
        if job.id != job_id:
            self.files.delete(job_id)
        return job

    def _discard(self, key: ApiKey, job_id: str) -> None:
        """The files of a job that was refused. One that was accepted all the same keeps them."""
        if self.store.find(key, job_id) is None:
            self.files.delete(job_id)

    def told(self, job: StoredJob) -> Video:
        """A job as the API tells it."""
        num_before = self.store.num_before(job) if job.status == "queued" else 0
        model, keep_s = self.settings.model.model, self.settings.keep_s
        return video_of(job, model=model, keep_s=keep_s, num_before=num_before)

    def page(self, key: ApiKey, *, limit: int, after: str | None, is_descending: bool) -> VideoList:
        jobs, has_more = self.store.page(key, limit=limit, after=after, is_descending=is_descending)
        videos = [self.told(job) for job in jobs]
        first, last = (videos[0].id, videos[-1].id) if videos else (None, None)
        return VideoList(data=videos, first_id=first, last_id=last, has_more=has_more)

    def delete(self, key: ApiKey, job: StoredJob) -> None:
        """The row first: a kill in between leaves files that `sweep` finds."""
        self.store.delete(key, job.id)
        self.files.delete(job.id)

    def result_file(self, job: StoredJob, name: str) -> Path:
        """A file of the result. Raises ApiError where there is none."""
        if job.status == "failed":
            assert job.error is not None
            raise ApiError(409, job.error["code"], f"no video was made: {job.error['message']}")
        if job.status != "completed":
            raise ApiError(
                409, "video_not_ready", "the video is not made yet", got=job.status, fix="Ask again later",
                retry_after_s=1,
            )  # fmt: skip
        path = self.files.result(job) / name
        if not path.is_file():
            raise ApiError(404, "video_not_found", "the video is gone", param="video_id")
        return path

    async def states(self, key: ApiKey, job: StoredJob) -> AsyncIterator[StoredJob | None]:
        """The job whenever something about it has changed, to its end; None once it was deleted."""
        yield job
        while not job.is_over:
            await asyncio.sleep(_LOOK_EVERY_S)
            found = await run_in_threadpool(self.store.find, key, job.id)
            if found is None:
                yield None
                return
            if _shown(found) != _shown(job):
                yield found
            job = found

    @contextmanager
    def watching(self, key: ApiKey) -> Iterator[None]:
        """While somebody waits for a job. Raises ApiError where too many of this key do."""
        with _counted(self._watchers, key, _WATCHERS_AT_A_TIME, "open requests"):
            yield

    async def wait(self, request: Request, key: ApiKey, job: StoredJob) -> StoredJob:
        """Until the job is over. A client that goes away ends its job, unless it can ask for it again.

        Raises:
            ApiError: it was deleted.
        """
        ended: StoredJob | None = job
        watching = asyncio.create_task(self._ended(key, job))
        try:
            while not watching.done():
                await asyncio.wait({watching}, timeout=_LOOK_EVERY_S)
                if await request.is_disconnected():
                    if job.idempotency_key is None:
                        await run_in_threadpool(self.delete, key, job)
                    break
            else:
                ended = watching.result()
        finally:
            watching.cancel()
        if ended is None:
            raise ApiError(404, "video_not_found", "the video was deleted meanwhile", param="video_id")
        return ended

    async def _ended(self, key: ApiKey, job: StoredJob) -> StoredJob | None:
        last: StoredJob | None = job
        async for state in self.states(key, job):
            last = state
        return last

    def is_ready(self) -> dict[str, bool]:
        """What must all be so for videos to be taken and made."""
        try:
            workers, room = self.store.num_workers(), shutil.disk_usage(self.files.data).free
        except Exception:  # of any database
            return {"database": False}
        return {
            "database": True,
            "worker": workers > 0,
            "disk": room > _LEAST_FREE_BYTES,
            "running": not self._is_stopping(),
        }


def _idempotency_key(request: Request) -> str | None:
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _LONGEST_IDEMPOTENCY_KEY and key.isprintable()):
        raise ApiError(
            400, "invalid_parameter", "the Idempotency-Key cannot be used", param="Idempotency-Key",
            expected=f"1 to {_LONGEST_IDEMPOTENCY_KEY} characters",
        )  # fmt: skip
    return key


def _shown(job: StoredJob) -> tuple[object, ...]:
    return job.status, job.frames_done, job.made


@contextmanager
def _counted(counter: Counter[str], key: ApiKey, most: int, what: str) -> Iterator[None]:
    if counter[key.id] >= most:
        raise ApiError(
            429,
            "too_many_requests",
            f"too many {what} at a time",
            expected=f"{most} at most",
            retry_after_s=1,
        )
    counter[key.id] += 1
    try:
        yield
    finally:
        counter[key.id] -= 1
        if not counter[key.id]:
            del counter[key.id]
