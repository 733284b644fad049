"""Processes that read one input at a time, under limits. One that dies is replaced, and its input blamed."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from benchmarks.fuzzing.planted import PLANTED
from benchmarks.fuzzing.targets import TARGETS, Target
from openemo.errors import OpenEmoError

__all__ = ["BUGS", "Case", "Kind", "Limits", "Outcome", "run_cases", "target_of"]

Kind = Literal[
    "success", "clear error", "unclear error", "raw exception", "crash", "hang", "over memory", "file left"
]
BUGS: Final[tuple[Kind, ...]] = (
    "unclear error",
    "raw exception",
    "crash",
    "hang",
    "over memory",
    "file left",
)
_MOST_MESSAGE: Final = 2000  # characters of a clear error
_CASES_PER_PROCESS: Final = 300
_POLL_S: Final = 0.05
_ROOT: Final = str(Path(__file__).resolve().parents[2])


class Case(NamedTuple):
    """One input. The seeds -1, -2, ... are the whole inputs, unchanged."""

    target: str
    seed: int

    def __str__(self) -> str:
        return f"{self.target}:{self.seed}"


@dataclass(frozen=True)
class Limits:
    """For one input. Memory is the peak that is resident in the process, libraries included."""

    seconds: float = 20.0
    memory_mb: int = 2000


@dataclass(frozen=True)
class Outcome:
    """What came of one input.

    Attributes:
        what: the input, in words.
        message: of the error.
        place: the deepest line, and behind it the deepest one of openemo.
        details: the traceback, or what the process wrote before it died.
    """

    case: Case
    kind: Kind
    what: str
    message: str = ""
    place: str = ""
    seconds: float = 0.0
    memory_mb: float = 0.0
    details: str = ""


def target_of(name: str) -> Target:
    return TARGETS[name] if name in TARGETS else PLANTED[name][0]


def run_cases(
    cases: Iterator[Case], wholes: Path, scratch: Path, limits: Limits, num_workers: int
) -> Iterator[Outcome]:
    """The outcome of each case, in the order in which they end.

    Args:
        wholes: folder of each target's whole inputs. scratch: for the workers. The input of a case that is a
            bug stays in `scratch/kept/TARGET-SEED`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.fuzzing.workers"])
    workers = [_Worker(context, index, wholes, scratch, limits) for index in range(num_workers)]
    try:
        while True:
            for worker in workers:
                if worker.case is None and (case := next(cases, None)) is not None:
                    worker.start(case)
            busy = [worker for worker in workers if worker.case is not None]
            if not busy:
                return
            wait([part for worker in busy for part in worker.waitables()], _POLL_S)
            for worker in busy:
                outcome = worker.poll()
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """One process after the other."""

    def __init__(
        self,
        context: multiprocessing.context.ForkServerContext,
        index: int,
        wholes: Path,
        scratch: Path,
        limits: Limits,
    ) -> None:
        self._context, self._limits, self._wholes = context, limits, wholes
        self._kept = scratch / "kept"
        self._home = scratch / f"worker{index}"
        self.case: Case | None = None
        self._process: multiprocessing.context.ForkServerProcess | None = None
        self._connection: Connection | None = None
        self._count = 0
        self._since = 0.0
        self._what = ""

    def waitables(self) -> list[Any]:
        assert self._process is not None
        return [self._connection, self._process.sentinel]

    def start(self, case: Case) -> None:
        if self._process is None or self._count >= _CASES_PER_PROCESS:
            self.stop()
            shutil.rmtree(self._home, ignore_errors=True)
            self._home.mkdir(parents=True)
            here, there = self._context.Pipe()
            self._process = self._context.Process(
                target=_serve, args=(there, self._wholes, self._home, self._limits), daemon=False
            )
            self._process.start()
            there.close()
            self._connection, self._count = here, 0
        assert self._connection is not None
        self.case, self._count, self._what = case, self._count + 1, ""
        # Starting the process and making the input are not part of the reader's time.
        self._since = time.monotonic() + 60
        self._connection.send(case)

    def poll(self) -> Outcome | None:
        """The outcome if there is one; ends a process that is beyond its limits."""
        assert self.case is not None
        assert self._process is not None
        assert self._connection is not None
        try:
            while self._connection.poll():
                said = self._connection.recv()
                if isinstance(said, Outcome):
                    return self._done(said)
                self._what, self._since = said, time.monotonic()
        except (EOFError, OSError):
            self._process.join(10)
        if self._process.exitcode is not None:
            return self._blamed("crash", _signal_name(self._process.exitcode))
        if time.monotonic() - self._since > self._limits.seconds:
            return self._blamed("hang", f"over {self._limits.seconds:g} s")
        memory_mb = _resident_mb(self._process.pid)
        if memory_mb > self._limits.memory_mb:
            return self._blamed("over memory", f"over {self._limits.memory_mb} MB", memory_mb)
        return None

    def _blamed(self, kind: Kind, message: str, memory_mb: float = 0.0) -> Outcome:
        assert self.case is not None
        assert self._process is not None
        if not self._what:
            said = (self._home / "log").read_text(errors="replace")
            raise RuntimeError(f"the fuzzer could not make {self.case}: {message}\n{said[-3000:]}")
        if self._process.exitcode is None and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGABRT)  # faulthandler writes where it was
            self._process.join(3)
        seconds = time.monotonic() - self._since
        log = self._home / "log"
        details = log.read_text(errors="replace")[-6000:] if log.exists() else ""
        outcome = Outcome(
            self.case,
            kind,
            self._what,
            message,
            _place_in_log(details),
            seconds,
            memory_mb,
            details,
        )
        self.stop()
        return self._done(outcome)

    def _done(self, outcome: Outcome) -> Outcome:
        if outcome.kind in BUGS:
            kept = self._kept / f"{outcome.case.target}-{outcome.case.seed}"
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            source = self._home / "case/input"
            if source.exists():
                source.rename(kept)
        self.case = None
        return outcome

    def stop(self) -> None:
        if self._process is not None:
            if self._process.pid is not None:
                with contextlib.suppress(ProcessLookupError):  # the group may be gone, or not made yet
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _signal_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit {code}"


def _resident_mb(pid: int | str | None) -> float:
    """Of the process or of the largest below it."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return max([pages * resource.getpagesize() / 1e6, *map(_resident_mb, below)])


def _serve(connection: Connection, wholes: Path, home: Path, limits: Limits) -> None:
    """Reads cases until the other side is gone."""
    _isolate(home, limits)
    while True:
        try:
            case: Case = connection.recv()
        except EOFError:
            return
        _truncate_log()
        outcome = _attempt(connection, case, wholes, home, limits)
        connection.send(outcome)


def _isolate(home: Path, limits: Limits) -> None:
    """Own folders for everything that a reader could write; output goes to a log."""
    os.setsid()  # one group with all that it starts
    for name in ("tmp", "cwd", "home"):
        (home / name).mkdir()
    os.environ |= {
        "TMPDIR": str(home / "tmp"),
        "HOME": str(home / "home"),
        "XDG_CACHE_HOME": str(home / "home/.cache"),
    }
    tempfile.tempdir = None
    os.chdir(home / "cwd")
    log = os.open(home / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    faulthandler.enable(sys.__stderr__ or 2, all_threads=False)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    # The limit that counts is watched from outside. This one keeps the machine alive.
    resource.setrlimit(resource.RLIMIT_DATA, (8 * limits.memory_mb * 10**6,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()  # the libraries' objects, among which a collection would search for half a second


def _truncate_log() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.ftruncate(2, 0)


def _attempt(connection: Connection, case: Case, wholes: Path, home: Path, limits: Limits) -> Outcome:
    folder = home / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    source, output = folder / "input", folder / "output"
    output.mkdir()
    target = target_of(case.target)
    if case.seed < 0:
        what = target.copy(wholes / case.target, source, -1 - case.seed)
    else:
        rng = np.random.default_rng([zlib.crc32(case.target.encode()), case.seed])
        what = target.make(wholes / case.target, source, rng)
    before, given = _files(home), _files(source)
    _reset_peak()
    connection.send(what)
    start = time.monotonic()
    kind: Kind = "success"
    message = place = details = ""
    try:
        target.read(source, output)
    except OpenEmoError as error:
        message = str(error)
        kind = "clear error" if _is_clear(message) else "unclear error"
        place, details = (
            (_place(error), "") if kind == "clear error" else (_place(error), traceback.format_exc())
        )
    except BaseException as error:
        kind, message, place = "raw exception", f"{type(error).__name__}: {error!s:.300}", _place(error)
        details = traceback.format_exc()[-6000:]
    seconds = time.monotonic() - start
    if kind == "success":
        shutil.rmtree(output)
        before -= {path for path in before if path.startswith(f"{output}")}
    memory_mb = _peak_mb()
    gc.collect()
    left = sorted(_files(home) - before)
    if kind not in BUGS and memory_mb > limits.memory_mb:
        kind, message = "over memory", f"{memory_mb:.0f} MB; {message[:200]}"
    elif kind not in BUGS and (left or _files(source) != given):
        kind, message = "file left", ", ".join(left)[:500] or "the input was changed"
    for path in left:
        shutil.rmtree(path.split("\0")[0], ignore_errors=True)
        Path(path.split("\0")[0]).unlink(missing_ok=True)
    message = message.encode("utf-8", "backslashreplace").decode()
    return Outcome(case, kind, what, message[:2000], place, seconds, memory_mb, details)


def _is_clear(message: str) -> bool:
    """One line for a terminal: short, and nothing that a terminal obeys."""
    return len(message) <= _MOST_MESSAGE and " ".join(message.split()).isprintable()


def _files(folder: Path) -> set[str]:
    """Path, kind, size and time of change of everything below a folder, but for the log."""
    found = set()
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                facts = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    found.add(f"{entry.path}\0folder")
                elif entry.name != "log":
                    found.add(f"{entry.path}\0{facts.st_mode} {facts.st_size} {facts.st_mtime_ns}")
    return found


def _reset_peak() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Of the process since the last reset, or of the largest of its children if that is more."""
    status = Path("/proc/self/status").read_text()
    own = int(status.split("VmHWM:")[1].split()[0]) / 1000
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000)


def _place(error: BaseException) -> str:
    """The deepest line of openemo, and the deepest of all if that is elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "openemo/" in frame.filename]
    shown = [own[-1]] if own else []
    if frames and frames[-1] not in shown:
        shown.append(frames[-1])
    return " < ".join(f"{_short(frame.filename)}:{frame.lineno}" for frame in reversed(shown))


def _place_in_log(log: str) -> str:
    """The same from what faulthandler wrote."""
    lines = [line.strip() for line in log.splitlines() if line.strip().startswith('File "')]
    places = [(line.split('"')[1], line.split("line ")[1].split(" ")[0]) for line in lines if "line " in line]
    own = [place for place in places if "openemo/" in place[0]]
    shown = ([places[0]] if places else []) + ([own[0]] if own and own[0] != places[0] else [])
    return " < ".join(f"{_short(name)}:{number}" for name, number in shown)


def _short(path: str) -> str:
    for root in ("openemo/", "site-packages/"):
        if root in path:
            return path[path.rindex(root) :]
    return path.removeprefix(_ROOT)
