"""`openemo ui`: the web page."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from typer import Option

from openemo.cli.options import MODEL_NAMES, Device, DTypeOrBest, Engine, Model, load_pipeline
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import ConfigError
from openemo.threads import share_cores

__all__ = ["ui"]

_Server = partial(Option, rich_help_panel="Server")
_Reading = partial(Option, rich_help_panel="Reading of files")

_AUTH = "Name and password that the page asks for."
_FORCE = "Serve others than this machine without a password."
_KEEP = "How long files of somebody who is away are kept."


def ui(
    host: Annotated[str, _Server(help="Address to listen on. Others than this machine need --auth.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, _Server(help="0 takes a free one.")] = 7860,
    auth: Annotated[
        str | None, _Server(help=_AUTH, metavar="NAME:PASSWORD", envvar="OPENEMO_UI_AUTH")
    ] = None,
    force: Annotated[bool, _Server("--force", help=_FORCE)] = False,
    keep_minutes: Annotated[float, _Server(help=_KEEP)] = 30.0,
    model: Annotated[str, Model(help=MODEL_NAMES)] = "embedded",
    device: Device = "cpu",
    dtype: DTypeOrBest = None,
    engine: Engine = "torch",
    max_pixels: Annotated[int, _Reading(help="Largest portrait.")] = DEFAULT_LIMITS.max_pixels,
    max_seconds: Annotated[float, _Reading(help="Longest sound.")] = DEFAULT_LIMITS.max_seconds,
) -> None:
    """Open a web page that makes videos, on this machine.

    It asks no other host for anything. Files of one visitor are not given to another, and are deleted.
    """
    share_cores()  # before anything loads torch
    from openemo.serving.web_server import ServerSettings, check_address, serve_page

    settings = ServerSettings(
        host=host,
        port=port,
        auth=None if auth is None else _name_and_password(auth),
        keep_s=60 * keep_minutes,
        limits=DecodingLimits(max_pixels=max_pixels, max_seconds=max_seconds),
    )
    check_address(settings, force=force)

    pipeline = load_pipeline(model, device=device, dtype=dtype, engine=engine)
    serve_page(pipeline, settings, lambda address: print(f"{address}   Ctrl-C stops it.", flush=True))


def _name_and_password(text: str) -> tuple[str, str]:
    name, _, password = text.partition(":")
    if not name or not password:
        raise ConfigError(
            "`--auth` is not understood",
            got="no colon, or nothing on one side of it",
            expected="NAME:PASSWORD",
        )
    return name, password
