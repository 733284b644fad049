"""Jobs in the database: one worker each, none lost, nothing readable across keys."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy", reason="the extra `serve` is not installed")

from openemo.errors import ConfigError
from openemo.serving.api.api_database import ABOUT, open_database
from openemo.serving.api.api_errors import ApiError
from openemo.serving.api.api_keys import NOBODY, ApiKey, ApiKeys, RequestRates
from openemo.serving.api.api_settings import KeyLimits, check_api_address
from openemo.serving.api.job_store import JobStore, NewJob, StoredJob

MADE = {"num_frames": 20, "width": 96, "height": 96, "duration_s": 0.8, "work_s": 3.0, "seed": 1}
NO_LIMITS = KeyLimits(None, None, None)


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Any]:
    engine = open_database(f"sqlite:///{tmp_path}/jobs.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Any, clock: Clock) -> JobStore:
    return JobStore(engine, max_queue=5, now=clock)


def new(name: str, *, idempotency_key: str | None = None, digest: str = "0", sound_s: float = 2.0) -> NewJob:
    return NewJob(name, {"format": "mp4"}, ["audio_reference"], sound_s, digest, idempotency_key)


def key(name: str, limits: KeyLimits = NO_LIMITS) -> ApiKey:
    return ApiKey(name, name, limits)


def claim(store: JobStore, worker: str) -> StoredJob:
    job = store.claim(worker, lease_s=30, max_attempts=3)
    assert job is not None
    return job


def test_the_oldest_job_goes_to_one_worker(store: JobStore) -> None:
    for name in ("a", "b"):
        store.add(NOBODY, new(name))
    assert claim(store, "w1").id == "a"
    assert claim(store, "w2").id == "b"
    assert store.claim("w3", lease_s=30, max_attempts=3) is None


def test_many_workers_at_once_never_share_a_job(engine: Any) -> None:
    store = JobStore(engine)
    for number in range(12):
        store.add(NOBODY, new(str(number)))
    taken: list[str] = []

    def work(name: str) -> None:
        while (job := store.claim(name, lease_s=30, max_attempts=3)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=int) == [str(number) for number in range(12)]


def test_a_job_of_a_silent_worker_is_taken_again_and_its_word_no_longer_counts(
    store: JobStore, clock: Clock
) -> None:
    store.add(NOBODY, new("a"))
    first = claim(store, "w1")
    clock.now_s += 20
    assert store.renew(first, lease_s=30, frames_done=3, made=None)
    clock.now_s += 29
    assert store.claim("w2", lease_s=30, max_attempts=3) is None
    clock.now_s += 2
    second = claim(store, "w2")
    assert (second.attempts, second.frames_done) == (2, 0)
    assert not store.renew(first, lease_s=30, frames_done=9, made=None)
    assert not store.complete(first, result="r", made=MADE)
    store.fail(first, code="x", message="y")
    assert store.complete(second, result="r", made=MADE)
    found = store.find(NOBODY, "a")
    assert found is not None
    assert (found.status, found.frames_done, found.made) == ("completed", 20, MADE)


def test_a_job_that_kills_its_workers_fails_at_last(store: JobStore) -> None:
    store.add(NOBODY, new("a"))
    for number in range(3):
        assert claim(store, f"w{number}").attempts == number + 1
        store.release(f"w{number}")
    assert store.claim("w3", lease_s=30, max_attempts=3) is None
    found = store.find(NOBODY, "a")
    assert found is not None
    assert found.status == "failed"
    assert found.error == {"code": "server_error", "message": "the process that made it ended 3 times."}


def test_a_worker_that_stops_gives_back_without_an_attempt(store: JobStore) -> None:
    store.add(NOBODY, new("a"))
    store.give_back(claim(store, "w1"))
    assert claim(store, "w2").attempts == 1


def test_a_deleted_job_is_lost_to_its_worker(store: JobStore) -> None:
    store.add(NOBODY, new("a"))
    job = claim(store, "w1")
    assert store.delete(NOBODY, "a")
    assert not store.renew(job, lease_s=30, frames_done=1, made=None)
    assert not store.complete(job, result="r", made=MADE)
    assert not store.delete(NOBODY, "a")


def test_nothing_is_seen_across_keys(store: JobStore) -> None:
    one, other = key("one"), key("other")
    store.add(one, new("a", idempotency_key="same"))
    store.add(other, new("b", idempotency_key="same"))
    assert store.find(other, "a") is None
    assert not store.delete(other, "a")
    assert [job.id for job in store.page(one, limit=9, after=None, is_descending=True)[0]] == ["a"]
    with pytest.raises(ApiError, match="no video of yours"):
        store.page(other, limit=9, after="a", is_descending=True)


def test_pages(store: JobStore) -> None:
    for name in "abcd":
        store.add(NOBODY, new(name))

    def ids(**options: Any) -> tuple[str, bool]:
        jobs, has_more = store.page(NOBODY, **{"after": None, "is_descending": True, **options})
        return "".join(job.id for job in jobs), has_more

    assert ids(limit=3) == ("dcb", True)
    assert ids(limit=3, after="b") == ("a", False)
    assert ids(limit=2, is_descending=False) == ("ab", True)
    assert ids(limit=2, is_descending=False, after="b") == ("cd", False)


def test_an_idempotency_key_makes_one_job(store: JobStore) -> None:
    first = store.add(NOBODY, new("a", idempotency_key="k", digest="1"))
    assert store.add(NOBODY, new("b", idempotency_key="k", digest="1")) == first
    with pytest.raises(ApiError, match="another request") as raised:
        store.add(NOBODY, new("c", idempotency_key="k", digest="2"))
    assert raised.value.status == 422
    assert store.num_open() == {"queued": 1, "in_progress": 0}


def test_the_queue_is_bounded_and_says_when_to_come_again(store: JobStore) -> None:
    for number in range(5):
        store.add(NOBODY, new(str(number)))
    with pytest.raises(ApiError, match="too many videos wait") as raised:
        store.add(NOBODY, new("more"))
    assert (raised.value.status, raised.value.retry_after_s) == (429, 30)
    assert store.complete(claim(store, "w"), result="r", made=MADE)
    store.add(NOBODY, new("more"))
    with pytest.raises(ApiError) as raised:
        store.check_room(NOBODY)
    assert raised.value.retry_after_s == 3  # what a video took


def test_limits_of_a_key(store: JobStore, clock: Clock) -> None:
    limited = key("limited", KeyLimits(None, 2, 5.0))
    store.add(limited, new("a", sound_s=2))
    store.add(limited, new("b", sound_s=1))
    with pytest.raises(ApiError, match="too many of your videos"):
        store.add(limited, new("c"))
    store.delete(limited, "a")
    with pytest.raises(ApiError, match="more video than this key may make in a day") as raised:
        store.add(limited, new("c", sound_s=2.5))
    assert raised.value.retry_after_s == 86_400 - clock.now_s % 86_400
    store.add(limited, new("c", sound_s=2))
    store.delete(limited, "c")
    clock.now_s += 86_400
    store.add(limited, new("d", sound_s=5))


def test_what_has_expired_goes(store: JobStore, clock: Clock) -> None:
    for name in "ab":
        store.add(NOBODY, new(name))
    store.complete(claim(store, "w"), result="r", made=MADE)
    clock.now_s += 101
    assert store.delete_expired(100) == ["a"]
    assert store.results() == {"b": (False, None)}
    assert store.counters()["completed"] == 1


def test_workers_that_are_there(store: JobStore, clock: Clock) -> None:
    store.is_there("w")
    store.is_there("w")
    assert store.num_workers() == 1
    clock.now_s += 16
    assert store.num_workers() == 0


def test_keys_are_hashed_and_revoked_for_good(engine: Any, tmp_path: Path) -> None:
    keys = ApiKeys(engine)
    assert (keys.are_needed, keys.has_valid) == (False, False)
    made, secret = keys.add("me", KeyLimits(10, 2, 60.0))
    assert keys.find(secret) == made
    assert len(secret) > 40
    assert keys.find(secret[:-1]) is keys.find("") is keys.find("\ud800") is None
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.encode() not in stored
    keys.revoke(made.id)
    assert keys.find(secret) is None
    # The last key that was revoked opens nothing.
    assert (keys.are_needed, keys.has_valid) == (True, False)
    assert [key.id for key in keys.list()] == [made.id]
    with pytest.raises(ConfigError, match="no such key"):
        keys.revoke("key_0")
    with pytest.raises(ConfigError, match="name cannot be used"):
        keys.add("", NO_LIMITS)


def test_requests_a_minute(clock: Clock) -> None:
    rates, limited = RequestRates(clock), key("limited", KeyLimits(3, None, None))
    assert [rates.wait_s(limited) for _ in range(3)] == [0, 0, 0]
    assert rates.wait_s(limited) == 20
    assert rates.wait_s(key("other")) == 0
    clock.now_s += 20
    assert rates.wait_s(limited) == 0
    assert rates.wait_s(limited) > 0


def test_others_are_served_only_with_a_key_or_by_force() -> None:
    with pytest.raises(ConfigError, match="anybody who reaches this machine could use the API"):
        check_api_address("0.0.0.0", has_key=False, force=False)
    check_api_address("0.0.0.0", has_key=True, force=False)
    check_api_address("::", has_key=False, force=True)
    check_api_address("::1", has_key=False, force=False)


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////no/such/folder/x", "oracle+nothing://x"])
def test_a_database_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigError, match="database cannot be used"):
        open_database(url)


def test_a_database_of_another_version(engine: Any) -> None:
    with engine.begin() as connection:
        connection.execute(ABOUT.update().values(schema_version=99))
    with pytest.raises(ConfigError, match="another version"):
        open_database(str(engine.url))
