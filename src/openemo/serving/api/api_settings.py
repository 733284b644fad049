"""Settings of the API's server and of its workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openemo.decoding_limits import DecodingLimits
from openemo.errors import ConfigError
from openemo.serving.addresses import is_loopback

__all__ = ["DATABASE_NAME", "ApiSettings", "KeyLimits", "ModelSettings", "check_api_address"]

DATABASE_NAME: Final = "openemo.sqlite3"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a worker loads, as of `EmoPipeline.from_pretrained`."""

    model: str = "embedded"
    device: str = "cpu"
    dtype: str | None = None
    engine: str = "auto"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may do; None is no limit.

    Attributes:
        max_jobs: that wait or are made at a time.
        seconds_per_day: of video, by the sound that is sent, from midnight to midnight UTC.
    """

    requests_per_minute: int | None = 600
    max_jobs: int | None = 32
    seconds_per_day: float | None = None


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the server listens, what it keeps, what it takes.

    Attributes:
        data: folder of the files, and of the database where `database_url` is None.
        workers: processes that make one video at a time each; 0 leaves that to another server.
        max_queue: videos that wait at most, of all keys together.
        keep_s: how long a video is kept after it is made.
        lease_s: how long a worker may be silent before its job is taken by another.
        grace_s: that a video in the making may take when the server stops; then it is made anew later.
        max_attempts: of a video whose worker died each time.
        max_job_s: longest making of a video.
        limits: of the files. `max_file_bytes` is that of a whole request.
        max_size_px: longest side of a video that may be asked for.
        require_consent: each job must have a statement of consent.
        json_logs: requests and events as a JSON object a line.
        live: streams at a time, with networks in the server's process; 0 for none.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    database_url: str | None = None
    model: ModelSettings = ModelSettings()
    workers: int = 1
    max_queue: int = 100
    keep_s: float = 24 * 3600.0
    lease_s: float = 30.0
    grace_s: float = 30.0
    max_attempts: int = 5
    max_job_s: float = 2 * 3600.0
    limits: DecodingLimits = field(
        default_factory=lambda: DecodingLimits(max_seconds=600, max_file_bytes=100 * 2**20)
    )
    max_size_px: int = 1920
    require_consent: bool = False
    json_logs: bool = False
    live: int = 0

    @property
    def url(self) -> str:
        """Of the database."""
        return self.database_url or f"sqlite:///{self.data / DATABASE_NAME}"


def check_api_address(host: str, *, has_key: bool, force: bool) -> None:
    """Others than this machine may reach the API only with a key, or it is forced.

    Raises:
        ConfigError: they could reach it without.
    """
    if not (is_loopback(host) or has_key or force):
        raise ConfigError(
            "anybody who reaches this machine could use the API",
            got=f"the address {host}, and no key",
            expected="127.0.0.1, or a key: `openemo serve keys add NAME`",
            fix="`--force` serves it to all nevertheless",
        )
