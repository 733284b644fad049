"""Video jobs in the database: accepted, leased to workers, finished, deleted.

A job is one row. Whoever makes it holds a lease, which ends by itself when the worker dies; then another
worker takes it. What a worker says about a job counts only while the lease is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sql

from openemo.serving.api.api_database import ABOUT, COUNTERS, USAGE, VIDEOS, WORKERS, changing
from openemo.serving.api.api_errors import ApiError
from openemo.serving.api.api_keys import ApiKey

__all__ = ["JobStore", "NewJob", "StoredJob"]

Status = Literal["queued", "in_progress", "completed", "failed"]
_OPEN: Final = ("queued", "in_progress")
_DAY_S: Final = 86_400
_WORKER_IS_THERE_S: Final = 15.0
_USUAL_JOB_S: Final = 30.0
_LONGEST_WAIT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request, checked, its files on the disk.

    Attributes:
        request: options and statements, as JSON.
        files: names of the files in the job's folder.
        sound_s: length of the sound.
        request_sha256: equal requests have equal ones.
    """

    id: str
    request: dict[str, Any]
    files: Sequence[str]
    sound_s: float
    request_sha256: str
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class StoredJob:
    """A row, see `VIDEOS` in `api_database.py`.

    Attributes:
        made: of the video: width, height, num_frames, seed, duration_s, warnings, work_s; as far as known.
        result: name of the folder with the video.
        error: code and message.
    """

    id: str
    number: int
    key_id: str
    idempotency_key: str | None
    request_sha256: str
    status: Status
    request: dict[str, Any]
    files: list[str]
    sound_s: float
    created_s: float
    started_s: float | None = None
    ended_s: float | None = None
    worker: str | None = None
    lease_until_s: float | None = None
    attempts: int = 0
    frames_done: int = 0
    made: dict[str, Any] | None = None
    result: str | None = None
    error: dict[str, str] | None = None

    @property
    def is_over(self) -> bool:
        return self.status not in _OPEN


class JobStore:
    """All jobs.

    Args:
        max_queue: jobs that are not over, of all keys.
        workers: that make them, for the estimate of a wait.
        now: seconds since 1970, of a clock that all processes share.
    """

    def __init__(
        self,
        engine: sql.Engine,
        *,
        max_queue: int = 100,
        workers: int = 1,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._engine, self._max_queue, self._workers, self._now = engine, max_queue, max(1, workers), now

    # What requests do.

    def check_room(self, key: ApiKey) -> None:
        """Raises ApiError where a new job would be refused whatever it is."""
        with self._engine.connect() as connection:
            self._check_room(connection, key)

    def add(self, key: ApiKey, job: NewJob) -> StoredJob:
        """Accepts the job, or gives the one that this idempotency key has already made.

        Raises:
            ApiError: too many jobs, too much video today, or the idempotency key belongs to another request.
        """
        with changing(self._engine) as connection:
            if job.idempotency_key is not None:
                known = _first(
                    connection,
                    VIDEOS.select()
                    .where(VIDEOS.c.key_id == key.id)
                    .where(VIDEOS.c.idempotency_key == job.idempotency_key),
                )
                if known is not None:
                    return _same_request(known, job)
            self._check_room(connection, key)
            self._use(connection, key, job.sound_s)
            number = connection.scalar(sql.select(ABOUT.c.changes))
            row = {
                "id": job.id,
                "number": number,
                "key_id": key.id,
                "idempotency_key": job.idempotency_key,
                "request_sha256": job.request_sha256,
                "status": "queued",
                "request": job.request,
                "files": list(job.files),
                "sound_s": job.sound_s,
                "created_s": self._now(),
                "attempts": 0,
                "frames_done": 0,
            }
            connection.execute(VIDEOS.insert().values(row))
            _count(connection, "accepted", 1)
            accepted = _first(connection, VIDEOS.select().where(VIDEOS.c.id == job.id))
        assert accepted is not None
        return accepted

    def find(self, key: ApiKey, job_id: str) -> StoredJob | None:
        """The job, if it is the key's."""
        own = VIDEOS.select().where(VIDEOS.c.id == job_id).where(VIDEOS.c.key_id == key.id)
        with self._engine.connect() as connection:
            return _first(connection, own)

    def knows(self, key: ApiKey, idempotency_key: str) -> bool:
        """Whether a job was accepted with it."""
        own = VIDEOS.select().where(VIDEOS.c.key_id == key.id)
        with self._engine.connect() as connection:
            return _first(connection, own.where(VIDEOS.c.idempotency_key == idempotency_key)) is not None

    def page(
        self, key: ApiKey, *, limit: int, after: str | None, is_descending: bool
    ) -> tuple[list[StoredJob], bool]:
        """Jobs of the key by the time of acceptance, and whether there are more.

        Raises:
            ApiError: `after` is no job of the key.
        """
        query = VIDEOS.select().where(VIDEOS.c.key_id == key.id)
        if after is not None:
            last = self.find(key, after)
            if last is None:
                raise ApiError(404, "video_not_found", "`after` is no video of yours", param="after")
            later = VIDEOS.c.number < last.number if is_descending else VIDEOS.c.number > last.number
            query = query.where(later)
        order = VIDEOS.c.number.desc() if is_descending else VIDEOS.c.number
        with self._engine.connect() as connection:
            found = [_job(row) for row in connection.execute(query.order_by(order).limit(limit + 1))]
        return found[:limit], len(found) > limit

    def delete(self, key: ApiKey, job_id: str) -> bool:
        """Whether there was such a job of the key. A worker that makes it notices, and stops."""
        with changing(self._engine) as connection:
            own = VIDEOS.delete().where(VIDEOS.c.id == job_id).where(VIDEOS.c.key_id == key.id)
            return bool(connection.execute(own).rowcount)

    def num_before(self, job: StoredJob) -> int:
        """Jobs that are made before this one, those in the making included."""
        earlier = VIDEOS.c.status.in_(_OPEN) & (VIDEOS.c.number < job.number)
        with self._engine.connect() as connection:
            return _how_many(connection, earlier)

    def use(self, key: ApiKey, seconds: float) -> None:
        """Counts video that is no job. Raises ApiError where the key has none left today."""
        with changing(self._engine) as connection:
            self._use(connection, key, seconds)

    # What workers do.

    def claim(self, worker: str, *, lease_s: float, max_attempts: int) -> StoredJob | None:
        """The oldest job that nobody makes, with a lease; None where there is none.

        A job whose worker died `max_attempts` times is failed: it is what kills them.
        """
        now = self._now()
        free = (VIDEOS.c.status == "queued") | (
            (VIDEOS.c.status == "in_progress") & (VIDEOS.c.lease_until_s < now)
        )
        with self._engine.connect() as connection:  # most looks find nothing, and change nothing
            if _first(connection, VIDEOS.select().where(free).limit(1)) is None:
                return None
        with changing(self._engine) as connection:
            while True:
                job = _first(connection, VIDEOS.select().where(free).order_by(VIDEOS.c.number).limit(1))
                if job is None:
                    return None
                own = VIDEOS.update().where(VIDEOS.c.id == job.id)
                if job.attempts < max_attempts:
                    lease = {"worker": worker, "lease_until_s": now + lease_s, "started_s": now}
                    attempt = {"status": "in_progress", "attempts": job.attempts + 1, "frames_done": 0}
                    connection.execute(own.values(**lease, **attempt))
                    return _first(connection, VIDEOS.select().where(VIDEOS.c.id == job.id))
                message = f"the process that made it ended {job.attempts} times."
                error = {"code": "server_error", "message": message}
                connection.execute(own.values(status="failed", error=error, ended_s=now))
                _count(connection, "failed", 1)

    def renew(self, job: StoredJob, *, lease_s: float, frames_done: int, made: dict[str, Any] | None) -> bool:
        """Whether the lease is still the worker's; then it is longer, and the progress is known."""
        values: dict[str, Any] = {"lease_until_s": self._now() + lease_s, "frames_done": frames_done}
        if made is not None:
            values["made"] = made
        with changing(self._engine) as connection:
            return bool(connection.execute(_leased(job).values(values)).rowcount)

    def complete(self, job: StoredJob, *, result: str, made: dict[str, Any]) -> bool:
        """The video is in its place. False where the job is no longer the worker's."""
        values = {"status": "completed", "result": result, "made": made, "frames_done": made["num_frames"]}
        with changing(self._engine) as connection:
            ended = _leased(job).values(**values, ended_s=self._now(), lease_until_s=None)
            if not connection.execute(ended).rowcount:
                return False
            _count(connection, "completed", 1)
            _count(connection, "frames", made["num_frames"])
            _count(connection, "video_seconds", made["duration_s"])
            _count(connection, "work_seconds", made["work_s"])
            return True

    def fail(self, job: StoredJob, *, code: str, message: str) -> None:
        error = {"code": code, "message": message}
        with changing(self._engine) as connection:
            ended = _leased(job).values(status="failed", error=error, ended_s=self._now(), lease_until_s=None)
            if connection.execute(ended).rowcount:
                _count(connection, "failed", 1)

    def give_back(self, job: StoredJob) -> None:
        """The worker stops; another makes it. That was no attempt."""
        values = {"status": "queued", "worker": None, "lease_until_s": None, "frames_done": 0}
        with changing(self._engine) as connection:
            connection.execute(_leased(job).values(**values, attempts=job.attempts - 1))

    def is_there(self, worker: str) -> None:
        """The worker has its networks, and lives."""
        with changing(self._engine) as connection:
            seen = WORKERS.update().where(WORKERS.c.id == worker).values(seen_s=self._now())
            if not connection.execute(seen).rowcount:
                connection.execute(WORKERS.insert().values(id=worker, seen_s=self._now()))

    # What the server does.

    def release(self, worker: str) -> None:
        """The worker is dead: its job waits for no end of a lease."""
        with changing(self._engine) as connection:
            held = (VIDEOS.c.status == "in_progress") & (VIDEOS.c.worker == worker)
            connection.execute(VIDEOS.update().where(held).values(lease_until_s=0.0))
            connection.execute(WORKERS.delete().where(WORKERS.c.id == worker))

    def delete_expired(self, keep_s: float) -> list[str]:
        """Jobs that ended longer ago: their ids. Usage of earlier days is forgotten, too."""
        old = VIDEOS.c.ended_s < self._now() - keep_s
        with self._engine.connect() as connection:
            ids = list(connection.scalars(sql.select(VIDEOS.c.id).where(old)))
        if ids:
            with changing(self._engine) as connection:
                connection.execute(VIDEOS.delete().where(VIDEOS.c.id.in_(ids)))
                connection.execute(USAGE.delete().where(USAGE.c.day < self._now() // _DAY_S))
        return ids

    def results(self) -> dict[str, tuple[bool, str | None]]:
        """Of each job by its id: whether it is over, and its folder with the video."""
        query = sql.select(VIDEOS.c.id, VIDEOS.c.status, VIDEOS.c.result)
        with self._engine.connect() as connection:
            return {row.id: (row.status not in _OPEN, row.result) for row in connection.execute(query)}

    def num_workers(self) -> int:
        """Workers that have their networks and were seen lately."""
        lately = WORKERS.c.seen_s > self._now() - _WORKER_IS_THERE_S
        with self._engine.connect() as connection:
            count = connection.scalar(sql.select(sql.func.count()).select_from(WORKERS).where(lately))
        return int(count or 0)

    def num_open(self) -> dict[str, int]:
        """Jobs that are not over, by status."""
        query = (
            sql.select(VIDEOS.c.status, sql.func.count())
            .where(VIDEOS.c.status.in_(_OPEN))
            .group_by(VIDEOS.c.status)
        )
        with self._engine.connect() as connection:
            found = {str(status): int(count) for status, count in connection.execute(query)}
        return {status: found.get(status, 0) for status in _OPEN}

    def counters(self) -> dict[str, float]:
        """Sums since the database was made: accepted, completed, failed, frames, video and work seconds."""
        with self._engine.connect() as connection:
            return {str(row.name): float(row.value) for row in connection.execute(COUNTERS.select())}

    def _check_room(self, connection: sql.Connection, key: ApiKey) -> None:
        is_open = VIDEOS.c.status.in_(_OPEN)
        waiting = _how_many(connection, is_open)
        if waiting >= self._max_queue:
            raise ApiError(
                429,
                "queue_full",
                "too many videos wait already",
                got=waiting,
                fix="Try again later",
                retry_after_s=self._wait_s(connection, 1),
            )
        most = key.limits.max_jobs
        if most is not None and (own := _how_many(connection, is_open & (VIDEOS.c.key_id == key.id))) >= most:
            raise ApiError(
                429,
                "too_many_jobs",
                "too many of your videos wait already",
                got=own,
                expected=f"{most} at most",
                fix="Wait for one, or delete one",
                retry_after_s=self._wait_s(connection, 1),
            )

    def _use(self, connection: sql.Connection, key: ApiKey, seconds: float) -> None:
        """Notes the seconds of video. Deleting the video gives nothing back: the work was done."""
        now = self._now()
        day, most = int(now // _DAY_S), key.limits.seconds_per_day
        own = (USAGE.c.key_id == key.id) & (USAGE.c.day == day)
        used = connection.scalar(sql.select(USAGE.c.seconds).where(own))
        if most is not None and (used or 0.0) + seconds > most:
            raise ApiError(
                429,
                "quota_exceeded",
                "that is more video than this key may make in a day",
                got=f"{used or 0.0:.1f} s so far, and {seconds:.1f} s more",
                expected=f"{most:g} s at most, until midnight UTC",
                retry_after_s=(day + 1) * _DAY_S - now,
            )
        if used is None:
            connection.execute(USAGE.insert().values(key_id=key.id, day=day, seconds=seconds))
        else:
            connection.execute(USAGE.update().where(own).values(seconds=used + seconds))

    def _wait_s(self, connection: sql.Connection, jobs: int) -> float:
        """Until that many jobs are over, by what the jobs so far took."""
        query = COUNTERS.select().where(COUNTERS.c.name.in_(("completed", "work_seconds")))
        found = {row.name: row.value for row in connection.execute(query)}
        usual_s = found["work_seconds"] / found["completed"] if len(found) == 2 else _USUAL_JOB_S
        return min(max(1.0, jobs * usual_s / self._workers), _LONGEST_WAIT_S)


def _same_request(known: StoredJob, job: NewJob) -> StoredJob:
    if known.request_sha256 != job.request_sha256:
        raise ApiError(
            422,
            "idempotency_key_reused",
            "the Idempotency-Key belongs to another request",
            got=f"another request than that of {known.id}",
            fix="Send the same request, or another key",
        )
    return known


def _leased(job: StoredJob) -> Any:
    """An update of the row while it is the worker's, in this attempt."""
    return (
        VIDEOS.update()
        .where(VIDEOS.c.id == job.id)
        .where(VIDEOS.c.status == "in_progress")
        .where(VIDEOS.c.worker == job.worker)
        .where(VIDEOS.c.attempts == job.attempts)
    )


def _first(connection: sql.Connection, query: Any) -> StoredJob | None:
    row = connection.execute(query).first()
    return None if row is None else _job(row)


def _job(row: Any) -> StoredJob:
    return StoredJob(**row._mapping)


def _how_many(connection: sql.Connection, which: Any) -> int:
    return int(connection.scalar(sql.select(sql.func.count()).select_from(VIDEOS).where(which)) or 0)


def _count(connection: sql.Connection, name: str, amount: float) -> None:
    more = COUNTERS.update().where(COUNTERS.c.name == name).values(value=COUNTERS.c.value + amount)
    if not connection.execute(more).rowcount:
        connection.execute(COUNTERS.insert().values(name=name, value=float(amount)))
