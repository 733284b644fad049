"""Makes items of an iterator ahead of their use, in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from typing import TypeVar

__all__ = ["working_ahead"]

ItemT = TypeVar("ItemT")


def working_ahead(items: Generator[ItemT]) -> Generator[ItemT]:
    """The same items in the same order. While one is used, the next one is made, and no more than that.

    An error in the making is raised where its item would be. Whoever stops early waits for the item that is
    in the making; then `items` is closed.
    """
    context = copy_context()  # progress bars and numpy's settings are the caller's

    def make() -> list[ItemT]:
        """The next item, or none."""
        for item in items:
            return [item]
        return []

    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="openemo-ahead") as pool:
        coming = pool.submit(context.run, make)
        while made := coming.result():
            coming = pool.submit(context.run, make)
            yield from made
