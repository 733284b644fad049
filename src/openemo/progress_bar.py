"""A progress bar on terminals and in notebooks."""

from __future__ import annotations

import sys
from typing import Any, Self

__all__ = ["Bar", "Count"]


class Bar:
    """tqdm's bar with the time left, to be called with (done, total). It is a widget in notebooks.

    Args:
        what: is done, such as "animating".
        disable: show nothing; None shows nothing where stderr is not a terminal.
    """

    def __init__(self, what: str, *, disable: bool | None = None) -> None:
        self._what = what
        self._disable = not sys.stderr.isatty() if disable is None else disable
        self._bar: Any = None

    def __enter__(self) -> Self:
        from tqdm.auto import tqdm  # here, because it is not wanted by who only asks for `--help`

        self._bar = tqdm(desc=self._what, total=1, disable=self._disable, unit="step")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        if self._bar.total != total:
            self._bar.reset(total)
        self._bar.update(done - self._bar.n)


class Count:
    """A count of what is done where nobody knows how much there is, to be called with the number."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> Self:
        from tqdm.auto import tqdm

        self._bar = tqdm(unit=f" {self._unit}", disable=not sys.stderr.isatty())
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, done: int) -> None:
        self._bar.update(done - self._bar.n)
