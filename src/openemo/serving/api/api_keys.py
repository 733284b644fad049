"""Keys of the API: made once, shown once, stored as hashes.

A key is 256 random bits. SHA-256 is enough for such a secret: there is nothing to guess, so a slow hash, as
passwords need, would only cost time in every request.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sql

from openemo.errors import ConfigError
from openemo.serving.api.api_database import KEYS, changing
from openemo.serving.api.api_settings import KeyLimits

__all__ = ["NOBODY", "ApiKey", "ApiKeys", "RequestRates"]

_PREFIX: Final = "oek_"
_LONGEST_NAME: Final = 200
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who asks.

    Attributes:
        reads_metrics: it may read the server's metrics, which tell about the use of all keys.
        revoked_s: when it was taken back, in seconds since 1970.
    """

    id: str
    name: str
    limits: KeyLimits
    reads_metrics: bool = False
    created_s: float = 0.0
    revoked_s: float | None = None


# Where no key was ever made.
NOBODY: Final = ApiKey("nobody", "nobody", KeyLimits(None, None, None), reads_metrics=True)


class ApiKeys:
    """The keys in the database."""

    def __init__(self, engine: sql.Engine, now: Callable[[], float] = time.time) -> None:
        self._engine, self._now = engine, now

    def add(self, name: str, limits: KeyLimits, *, reads_metrics: bool = False) -> tuple[ApiKey, str]:
        """A new key, and its secret, which is not stored.

        Raises:
            ConfigError: the name is empty or longer than 200 characters, or a limit is below zero.
        """
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            raise ConfigError("the key's name cannot be used", got=repr(name), expected="1 to 200 characters")
        asked = (limits.requests_per_minute, limits.max_jobs, limits.seconds_per_day)
        if any(limit is not None and not limit >= 0 for limit in asked):
            raise ConfigError("a limit is out of range", got=limits, expected="0 or more")
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = ApiKey(f"key_{secrets.token_hex(8)}", name, limits, reads_metrics, self._now())
        row = {
            "id": key.id,
            "name": name,
            "sha256": _hash(secret),
            "created_s": key.created_s,
            "requests_per_minute": limits.requests_per_minute,
            "max_jobs": limits.max_jobs,
            "seconds_per_day": limits.seconds_per_day,
            "reads_metrics": reads_metrics,
        }
        with changing(self._engine) as connection:
            connection.execute(KEYS.insert().values(row))
        return key, secret

    def revoke(self, key_id: str) -> None:
        """From now on it opens nothing. Its videos stay until they expire.

        Raises:
            ConfigError: there is no such key.
        """
        with changing(self._engine) as connection:
            found = KEYS.c.id == key_id
            revoked = sql.func.coalesce(KEYS.c.revoked_s, self._now())
            if not connection.execute(KEYS.update().where(found).values(revoked_s=revoked)).rowcount:
                raise ConfigError("there is no such key", got=key_id, fix="`openemo serve keys list`")

    def list(self) -> list[ApiKey]:
        """All, the oldest first."""
        with self._engine.connect() as connection:
            return [_key(row) for row in connection.execute(KEYS.select().order_by(KEYS.c.created_s))]

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret, unless it was revoked."""
        with self._engine.connect() as connection:
            row = connection.execute(KEYS.select().where(KEYS.c.sha256 == _hash(secret))).first()
        return None if row is None or row.revoked_s is not None else _key(row)

    @property
    def are_needed(self) -> bool:
        """Once there was a key, nobody comes in without: revoking the last one opens nothing."""
        with self._engine.connect() as connection:
            return connection.execute(sql.select(KEYS.c.id).limit(1)).first() is not None

    @property
    def has_valid(self) -> bool:
        with self._engine.connect() as connection:
            valid = sql.select(KEYS.c.id).where(KEYS.c.revoked_s.is_(None)).limit(1)
            return connection.execute(valid).first() is not None


class RequestRates:
    """How often each key may ask: a bucket that holds a minute's requests and fills evenly. In this process.

    Args:
        now: a clock in seconds that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}  # requests left, and when

    def wait_s(self, key: ApiKey) -> float:
        """0, and the request counts; or seconds until the next one is allowed."""
        most = key.limits.requests_per_minute
        if most is None:
            return 0.0
        if most == 0:
            return _MINUTE_S
        now = self._now()
        left, before = self._buckets.get(key.id, (float(most), now))
        left = min(float(most), left + (now - before) * most / _MINUTE_S)
        allowed = left >= 1
        self._buckets[key.id] = (left - allowed, now)
        return 0.0 if allowed else (1 - left) * _MINUTE_S / most


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: sql.Row[tuple[object, ...]]) -> ApiKey:
    told = row._mapping
    limits = KeyLimits(told["requests_per_minute"], told["max_jobs"], told["seconds_per_day"])
    return ApiKey(
        told["id"], told["name"], limits, told["reads_metrics"], told["created_s"], told["revoked_s"]
    )
