"""`openemo serve`: the HTTP API, and its keys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from openemo.cli.options import MODEL_NAMES, Device, DTypeOrBest, Engine, Model

if TYPE_CHECKING:
    from openemo.serving.api.api_keys import ApiKey, ApiKeys

__all__ = ["serve"]

_Server = partial(Option, rich_help_panel="Server")
_Limit = partial(Option, rich_help_panel="Limits")

_DATABASE = "Such as postgresql+psycopg://USER@HOST/NAME."
_FORCE = "Serve others than this machine without a key."
_GRACE = "That a video in the making may take when the server stops."
_LIVE = "Live streams at a time, by WS /v1/live; their networks are in the server itself."
_REQUIRE_CONSENT = "Refuse videos without a statement of consent."

Data = Annotated[
    Path | None,
    _Server(
        help="Folder of files and database.",
        metavar="FOLDER",
        envvar="OPENEMO_SERVE_DATA",
        show_default="~/.local/share/openemo/serve",
    ),
]
DatabaseUrl = Annotated[
    str | None,
    _Server(
        help=_DATABASE, metavar="URL", envvar="OPENEMO_SERVE_DATABASE_URL", show_default="SQLite in --data"
    ),
]

serve = typer.Typer(help="Serve an HTTP API that makes videos.")
keys = typer.Typer(help="Keys of the API.")
serve.add_typer(keys, name="keys")


@serve.callback(invoke_without_command=True)
def _serve(
    context: typer.Context,
    host: Annotated[str, _Server(help="Address to listen on. Others than this machine need a key.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, _Server(help="0 takes a free one.")] = 8000,
    data: Data = None,
    database_url: DatabaseUrl = None,
    workers: Annotated[int, _Server(help="Processes, each with its own networks.", min=0)] = 1,
    force: Annotated[bool, _Server("--force", help=_FORCE)] = False,
    live: Annotated[int, _Server(help=_LIVE, min=0)] = 0,
    require_consent: Annotated[bool, _Server("--require-consent", help=_REQUIRE_CONSENT)] = False,
    json_logs: Annotated[bool, _Server("--json-logs", help="Log requests, as JSON.")] = False,
    keep_hours: Annotated[float, _Server(help="How long videos are kept.", min=0)] = 24.0,
    grace_seconds: Annotated[float, _Server(help=_GRACE, min=0)] = 30.0,
    max_queue: Annotated[int, _Limit(help="Videos that wait, of all keys.", min=1)] = 100,
    max_upload_mb: Annotated[float, _Limit(help="Largest request.", min=0.1)] = 100.0,
    max_pixels: Annotated[int, _Limit(help="Largest portrait.", min=1)] = 110_000_000,
    max_seconds: Annotated[float, _Limit(help="Longest sound.", min=0.1)] = 600.0,
    max_size_px: Annotated[int, _Limit(help="Longest side of a video.", min=64)] = 1920,
    max_job_minutes: Annotated[float, _Limit(help="Longest making of a video.", min=0.1)] = 120.0,
    max_attempts: Annotated[int, _Limit(help="Of a video whose worker died each time.", min=1)] = 5,
    model: Annotated[str, Model(help=MODEL_NAMES)] = "embedded",
    device: Device = "cpu",
    dtype: DTypeOrBest = None,
    engine: Engine = "auto",
) -> None:
    """Serve an HTTP API that makes videos, in the form of OpenAI's video jobs. See docs/guides/api.md.

    No accepted video is lost, whatever is killed. It asks no other host for anything.
    """
    if context.invoked_subcommand is not None:
        return
    from openemo.decoding_limits import DecodingLimits
    from openemo.serving.api.api_server import serve_api
    from openemo.serving.api.api_settings import ApiSettings, ModelSettings

    settings = ApiSettings(
        data=_folder(data),
        host=host,
        port=port,
        database_url=database_url,
        model=ModelSettings(model, device, dtype, engine),
        workers=workers,
        max_queue=max_queue,
        keep_s=3600 * keep_hours,
        grace_s=grace_seconds,
        max_attempts=max_attempts,
        max_job_s=60 * max_job_minutes,
        limits=DecodingLimits(
            max_pixels=max_pixels, max_seconds=max_seconds, max_file_bytes=round(max_upload_mb * 1e6)
        ),
        max_size_px=max_size_px,
        require_consent=require_consent,
        json_logs=json_logs,
        live=live,
    )

    def on_ready(address: str) -> None:
        print(f"{address}/v1   Ctrl-C stops it.", flush=True)

    serve_api(settings, force=force, on_ready=on_ready)


@keys.command()
def add(
    name: Annotated[str, Argument(help="Whose it is; for you alone.", metavar="NAME")],
    requests_per_minute: Annotated[int, Option(help="At most.", min=0)] = 600,
    max_jobs: Annotated[int, Option(help="Videos that wait or are made at a time.", min=0)] = 32,
    seconds_per_day: Annotated[
        float | None, Option(help="Of video, until midnight UTC.", min=0, show_default="no limit")
    ] = None,
    metrics: Annotated[bool, Option("--metrics", help="It may also read /metrics.")] = False,
    data: Data = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make a key, and print it. Only its hash is kept, so it cannot be shown again."""
    from openemo.serving.api.api_settings import KeyLimits

    limits = KeyLimits(requests_per_minute, max_jobs, seconds_per_day)
    with _opened(data, database_url) as opened:
        key, secret = opened.add(name, limits, reads_metrics=metrics)
    print(f"{key.id}  {name}")
    print(secret)


@keys.command("list")
def list_(data: Data = None, database_url: DatabaseUrl = None) -> None:
    """Show the keys with their limits, without their secrets."""
    with _opened(data, database_url) as opened:
        found = opened.list()
    for key in found:
        print(_line(key))
    if not found:
        print("There are no keys: whoever reaches the server may use it.")


@keys.command()
def revoke(
    key_id: Annotated[str, Argument(help="As `keys list` shows it.", metavar="ID")],
    data: Data = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Take a key back, at once."""
    with _opened(data, database_url) as opened:
        opened.revoke(key_id)


def _line(key: ApiKey) -> str:
    limits = key.limits
    parts = [
        f"{limits.requests_per_minute} requests a minute",
        f"{limits.max_jobs} jobs",
        "no limit a day" if limits.seconds_per_day is None else f"{limits.seconds_per_day:g} s a day",
    ]
    if key.reads_metrics:
        parts.append("metrics")
    if key.revoked_s is not None:
        parts.append(f"revoked {_day(key.revoked_s)}")
    return f"{key.id}  {key.name}  made {_day(key.created_s)}: {', '.join(parts)}"


def _day(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _folder(data: Path | None) -> Path:
    if data is not None:
        return data.absolute()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "openemo" / "serve"


@contextmanager
def _opened(data: Path | None, database_url: str | None) -> Iterator[ApiKeys]:
    """The keys in the database."""
    from openemo.serving.api.api_server import database
    from openemo.serving.api.api_settings import ApiSettings

    settings = ApiSettings(data=_folder(data), database_url=database_url)
    with database(settings) as engine:
        from openemo.serving.api.api_keys import ApiKeys

        yield ApiKeys(engine)
