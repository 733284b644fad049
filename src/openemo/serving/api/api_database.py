"""The tables of the API, on SQLite or any database that SQLAlchemy speaks to.

What is committed survives a kill, and a loss of power where the disk keeps its word: SQLite waits for the
disk. Whoever changes something first changes the one row of `about`, so that changes come one after the other
and a limit that was looked at still holds when the row is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from openemo.errors import ConfigError

try:
    import sqlalchemy as sql
except ImportError as error:
    raise ConfigError("the API needs SQLAlchemy", fix="pip install 'openemo[serve]'") from error

__all__ = ["ABOUT", "COUNTERS", "KEYS", "USAGE", "VIDEOS", "WORKERS", "changing", "open_database"]

_SCHEMA: Final = 1
_PATIENCE_S: Final = 20
_TABLES: Final = sql.MetaData()

ABOUT: Final = sql.Table(
    "about",
    _TABLES,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("schema_version", sql.Integer, nullable=False),
    sql.Column("changes", sql.BigInteger, nullable=False),
)
KEYS: Final = sql.Table(
    "api_keys",
    _TABLES,
    sql.Column("id", sql.String(40), primary_key=True),
    sql.Column("name", sql.String(200), nullable=False),
    sql.Column("sha256", sql.String(64), nullable=False, unique=True),
    sql.Column("created_s", sql.Double, nullable=False),
    sql.Column("revoked_s", sql.Double),
    sql.Column("requests_per_minute", sql.Integer),
    sql.Column("max_jobs", sql.Integer),
    sql.Column("seconds_per_day", sql.Double),
    sql.Column("reads_metrics", sql.Boolean, nullable=False),
)
VIDEOS: Final = sql.Table(
    "videos",
    _TABLES,
    sql.Column("id", sql.String(60), primary_key=True),
    sql.Column("number", sql.BigInteger, nullable=False, unique=True),  # the order of acceptance
    sql.Column("key_id", sql.String(40), nullable=False),
    sql.Column("idempotency_key", sql.String(255)),
    sql.Column("request_sha256", sql.String(64), nullable=False),
    sql.Column("status", sql.String(20), nullable=False, index=True),
    sql.Column("request", sql.JSON, nullable=False),
    sql.Column("files", sql.JSON, nullable=False),
    sql.Column("sound_s", sql.Double, nullable=False),
    sql.Column("created_s", sql.Double, nullable=False),
    sql.Column("started_s", sql.Double),
    sql.Column("ended_s", sql.Double),
    sql.Column("worker", sql.String(60)),
    sql.Column("lease_until_s", sql.Double),
    sql.Column("attempts", sql.Integer, nullable=False),
    sql.Column("frames_done", sql.Integer, nullable=False),
    sql.Column("made", sql.JSON),  # what the worker knows of the video
    sql.Column("result", sql.String(60)),  # its folder
    sql.Column("error", sql.JSON),
    sql.UniqueConstraint("key_id", "idempotency_key"),
    sql.Index("videos_of_a_key", "key_id", "number"),
)
USAGE: Final = sql.Table(
    "usage",
    _TABLES,
    sql.Column("key_id", sql.String(40), primary_key=True),
    sql.Column("day", sql.Integer, primary_key=True),  # since 1970, UTC
    sql.Column("seconds", sql.Double, nullable=False),
)
COUNTERS: Final = sql.Table(
    "counters",
    _TABLES,
    sql.Column("name", sql.String(60), primary_key=True),
    sql.Column("value", sql.Double, nullable=False),
)
WORKERS: Final = sql.Table(
    "workers",
    _TABLES,
    sql.Column("id", sql.String(60), primary_key=True),
    sql.Column("seen_s", sql.Double, nullable=False),
)


def open_database(url: str) -> sql.Engine:
    """The database, with its tables. Close it by `dispose`.

    Raises:
        ConfigError: it cannot be reached, or is of another version.
    """
    try:
        engine = sql.create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        if engine.dialect.name == "sqlite":
            sql.event.listen(engine, "connect", _prepare_sqlite)
        _TABLES.create_all(engine)
        with engine.begin() as connection:
            version = connection.scalar(sql.select(ABOUT.c.schema_version))
            if version is None:
                connection.execute(ABOUT.insert().values(id=1, schema_version=_SCHEMA, changes=0))
    except (sql.exc.SQLAlchemyError, ImportError) as error:
        reason = str(error.orig) if isinstance(error, sql.exc.DBAPIError) else str(error)
        raise ConfigError(
            "the database cannot be used",
            got=reason.splitlines()[0],
            expected="a URL such as sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
        ) from error
    if version not in (None, _SCHEMA):
        raise ConfigError(
            "the database is of another version of openemo", got=version, expected=f"version {_SCHEMA}"
        )
    return engine


@contextmanager
def changing(engine: sql.Engine) -> Iterator[sql.Connection]:
    """A transaction that no other one overlaps. It is committed at the end of the block."""
    with engine.begin() as connection:
        connection.execute(ABOUT.update().values(changes=ABOUT.c.changes + 1))
        yield connection


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {1000 * _PATIENCE_S}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()
