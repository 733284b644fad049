"""`openemo`: the commands, one-line errors and exit codes."""

from __future__ import annotations

import errno
import signal
import sys
import textwrap
import threading
import traceback
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from openemo import __version__
from openemo.cli.animate import animate
from openemo.cli.batch import batch
from openemo.cli.bench import bench
from openemo.cli.data_build import build
from openemo.cli.demo import demo
from openemo.cli.evaluate import compare, evaluate
from openemo.cli.live import live
from openemo.cli.notes import warnings_as_notes
from openemo.cli.serve import serve
from openemo.cli.streams import forgiving_streams
from openemo.cli.train import assemble, average, prepare, train
from openemo.cli.ui import ui
from openemo.cli.verify import verify
from openemo.cli.weights import weights
from openemo.errors import ConfigError, OpenEmoError, printable

__all__ = ["main"]

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143

_LONGEST = 1500  # characters of a line; a word that somebody gave may be endless
# In torch's errors: of the system's memory, of C++, of CUDA.
_NO_MEMORY = ("can't allocate memory", "bad_alloc", "out of memory")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_VIDEOS, _TRAINING, _EVALUATION, _WEIGHTS = "Make videos", "Train", "Evaluate", "Published weights"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments without the program's name; None takes those of the process.

    Returns:
        the exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C.
    """
    # SystemExit removes the half-written file. Python allows signal handlers in the main thread only.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    with forgiving_streams(), warnings_as_notes():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> int:
    try:
        # Without standalone mode typer returns exit codes and raises errors.
        code = get_command(app).main(arguments, "openemo", standalone_mode=False, obj=arguments) or 0
        sys.stdout.flush()
    except OpenEmoError as error:
        return _fail(str(error), EXIT_ERROR)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = "openemo" if context is None else context.command_path
        return _fail(f"{error.format_message().rstrip('.')}. Try `{command} --help`.", error.exit_code)
    except Exception as error:
        # Options before the name of the command are those of `openemo` itself.
        if "--debug" in takewhile(lambda argument: argument.startswith("-"), arguments):
            traceback.print_exc()
            return EXIT_ERROR
        return _fail(_report_of(error), EXIT_ERROR)
    if code == EXIT_INTERRUPTED:
        print("openemo: interrupted", file=sys.stderr)
    return int(code)


def _fail(message: str, code: int) -> int:
    """Print one line, and return the code."""
    line = textwrap.shorten(printable(message), _LONGEST, placeholder=" ...")
    print(f"openemo: error: {line}", file=sys.stderr)
    return code


def _report_of(error: Exception) -> str:
    """What to say of an error that nobody foresaw."""
    said = textwrap.shorten(f"{type(error).__name__}: {error}".rstrip(": "), 300, placeholder=" ...")
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return f"there is too little memory; got {said}. Use a smaller picture or a shorter voice."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "the name of a file or folder is too long; expected at most 255 bytes in each part."
    return f"unexpected {said}. Please report what `openemo --debug COMMAND ...` shows."


def _show_version(asked: bool) -> None:
    if asked:
        print(f"openemo {__version__}")
        raise typer.Exit


@app.callback()
def _openemo(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the program an unexpected error happened.")
    ] = False,
) -> None:
    """One portrait and one voice in, a video of that person speaking or singing out."""
    try:
        Path.cwd()
    except FileNotFoundError as error:  # torch's libraries end the process
        raise ConfigError("the working folder is gone", fix="cd to one that exists") from error
    if sys.flags.optimize > 1:
        raise ConfigError(
            "Python runs without docstrings, which transformers reads",
            got="-OO or PYTHONOPTIMIZE=2",
            fix="Leave it out; -O is fine",
        )


app.command(rich_help_panel=_VIDEOS)(animate)
app.command(rich_help_panel=_VIDEOS)(live)
app.command(rich_help_panel=_VIDEOS)(batch)
app.command(rich_help_panel=_VIDEOS)(demo)
app.command(rich_help_panel=_VIDEOS)(ui)
app.command(rich_help_panel=_VIDEOS)(verify)
app.add_typer(serve, name="serve", rich_help_panel=_VIDEOS)
app.command(rich_help_panel=_VIDEOS)(bench)
app.command(rich_help_panel=_EVALUATION)(evaluate)
app.command(rich_help_panel=_EVALUATION)(compare)
app.command(rich_help_panel=_TRAINING)(train)
app.command(rich_help_panel=_TRAINING)(average)
app.command(rich_help_panel=_TRAINING)(assemble)
data = typer.Typer(help="Prepare training data.")
data.command()(build)
data.command()(prepare)
app.add_typer(data, name="data", rich_help_panel=_TRAINING)
app.add_typer(weights, name="weights", rich_help_panel=_WEIGHTS)
