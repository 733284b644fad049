"""The library's log on stderr: warnings as notes, and line by line what long work does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["show_log", "warnings_as_notes"]

_LIBRARY = "openemo"


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """While the block runs, each warning of the library is a line `openemo: note: ...`."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("openemo: note: %(message)s"))
    logger = logging.getLogger(_LIBRARY)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def show_log() -> None:
    """Shows all of the log from now on, with the time. The library's warnings are notes already."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not _is_note(record))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=[handler]
    )


def _is_note(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING and record.name.split(".")[0] == _LIBRARY
