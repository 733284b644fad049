"""Output that stops no command: terminals of any encoding, and readers that have gone away."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, Final, TextIO, cast

from openemo.errors import OutputError

__all__ = ["forgiving_streams"]

_READER_IS_GONE: Final = (errno.EPIPE, errno.EIO)  # a pipe, a terminal


@contextmanager
def forgiving_streams() -> Iterator[None]:
    """While the block runs, stdout and stderr fail neither by a closed pipe nor by a character.

    A video that took an hour is no failure because nobody reads the line about it. Where stdout is a file
    and cannot be written, `print` or `flush` raises OutputError.
    """
    _fill_descriptors()
    with ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        out = _Forgiving(sys.stdout or nowhere)
        err = _Forgiving(sys.stderr or nowhere, forgives_all=True)
        stack.enter_context(redirect_stdout(cast(TextIO, out)))
        stack.enter_context(redirect_stderr(cast(TextIO, err)))
        try:
            yield
        finally:
            # Here, because at the end of the process a closed pipe changes the exit code.
            with suppress(OutputError):
                out.flush()
            err.flush()


class _Forgiving:
    """A text stream that can be written to although nobody reads it or its encoding lacks a character."""

    def __init__(self, stream: TextIO, *, forgives_all: bool = False) -> None:
        self._stream = stream
        self._forgives_all = forgives_all

    def write(self, text: str) -> int:
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError as error:
            shown = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
            self._try(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            # The stream keeps what it could not write, and writes it again at the end of the process.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            action()
            if not (self._forgives_all or error.errno in _READER_IS_GONE):
                raise OutputError("what was printed cannot be written", got=error.strerror) from error


def _fill_descriptors() -> None:
    """Open stdin, stdout and stderr where the shell closed them.

    Otherwise the video would get the number of stderr, and libraries would write their warnings into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
