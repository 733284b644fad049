"""What is made ahead is what is made in turn."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from openemo.pipeline.working_ahead import working_ahead


def test_items_come_in_order_from_another_thread_and_one_ahead() -> None:
    made: list[int] = []
    threads = set()

    def items() -> Generator[int]:
        for number in range(5):
            made.append(number)
            threads.add(threading.get_ident())
            yield number

    seen = []
    for item in working_ahead(items()):
        assert len(made) <= item + 2
        seen.append(item)
    assert seen == list(range(5))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_an_error_is_raised_where_its_item_would_be() -> None:
    def items() -> Generator[int]:
        yield 1
        raise KeyError("two")

    ahead = working_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="two"):
        next(ahead)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_whoever_stops_early_leaves_nothing_running(error: type[BaseException]) -> None:
    is_closed, before = threading.Event(), set(threading.enumerate())

    def items() -> Generator[int]:
        try:
            yield from range(1000)
        finally:
            is_closed.set()

    def use() -> None:
        ahead = working_ahead(items())
        try:
            assert next(ahead) == 0
            raise error
        finally:
            ahead.close()  # a generator

    with pytest.raises(error):
        use()
    assert is_closed.is_set()
    ours = set(threading.enumerate()) - before
    assert not [one for one in ours if one.name.startswith("openemo-ahead")]
