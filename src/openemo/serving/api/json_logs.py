"""The log as a JSON object a line, for programs that collect logs."""

from __future__ import annotations

import logging

from openemo.errors import ConfigError

__all__ = ["log_as_json"]


def log_as_json() -> None:
    """From now on, on stderr. Requests are in it, with status, time, and the key's id; secrets are not."""
    try:
        from pythonjsonlogger.json import JsonFormatter
    except ImportError as error:
        raise ConfigError("JSON logs need python-json-logger", fix="pip install 'openemo[serve]'") from error
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    handler = logging.StreamHandler()
    handler.setFormatter(
        JsonFormatter(("asctime", "levelname", "name", "process", "message"), rename_fields=names)
    )
    logging.getLogger("openemo").handlers.clear()  # notes for a terminal
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
