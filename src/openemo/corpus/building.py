"""A build from its source to its report. The same call again makes only what is missing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final

from openemo.corpus.build_folder import BuildFolder
from openemo.corpus.build_settings import BuildSettings
from openemo.corpus.collecting import Corpus, collect
from openemo.corpus.part_workers import Task, run_tasks, tasks_of
from openemo.corpus.source_files import UNKNOWN_LICENCE, find_sources
from openemo.errors import ConfigError, OutputError
from openemo.files import lock_file, read_bounded, remove_leftovers, whole_file

__all__ = ["build"]

_SETTINGS: Final = "build.json"
_MOST_BYTES: Final = 2**20


def build(
    source: Path,
    output: Path,
    settings: BuildSettings | None = None,
    *,
    licence: str = UNKNOWN_LICENCE,
    workers: int = 1,
    share: str | None = None,
    sandbox: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> Corpus | None:
    """Makes training clips of all videos of a source, and packs them into WebDataset shards.

    Args:
        source: see `find_sources`.
        output: gets shards/, index.jsonl, report.html, quarantine.jsonl; and records/, what is done.
        licence: of the files that do not say their own, noted with each clip.
        workers: processes. 0 works in this one.
        share: "3/8" makes the third of eight shares of the files, beside other machines that make the others,
            and packs nothing: a call without it does, once all have ended.
        sandbox: decode in processes that can do nothing else.
        progress: is called with the number of files, or parts of long ones, that are done.

    Raises:
        InputError: there is no such source.
        ConfigError: the extra `data` is not installed; `share` is none.
        OutputError: the folder belongs to a build with other settings, or to one that is running.
    """
    settings, folder = settings or BuildSettings(), BuildFolder(output)
    _check_extra()
    part = None if share is None else _read_share(share)
    try:
        with _own(folder, settings, alone=part is None):
            tasks = _missing(source, licence, folder, part)
            run_tasks(tasks, folder, settings, workers=workers, sandbox=sandbox, progress=progress)
            if part is not None:
                return None
            from openemo.corpus.corpus_report import corpus_page  # loads torch

            corpus = collect(folder, settings)
            with whole_file(output / "report.html") as file:
                file.write(corpus_page(corpus, settings, output.name).encode())
    except OSError as error:
        raise OutputError(f"nothing can be built in {output}", got=str(error)) from error
    return corpus


def _read_share(share: str) -> tuple[int, int]:
    """Number from 0, and of how many."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", share)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ConfigError("`share` is no share", got=share, expected="K/N, such as 3/8; K from 1 to N")
    return int(found[1]) - 1, int(found[2])


def _check_extra() -> None:
    missing = [name for name in ("scenedetect", "jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"a build needs {' and '.join(missing)}, which the extra `data` brings",
            fix="pip install 'openemo[data]'",
        )


def _missing(source: Path, licence: str, folder: BuildFolder, part: tuple[int, int] | None) -> Iterator[Task]:
    first, step = part or (0, 1)
    for found in islice(find_sources(source, licence), first, None, step):
        if not folder.source_record(found.key()).exists():
            yield from tasks_of(found)


@contextmanager
def _own(folder: BuildFolder, settings: BuildSettings, *, alone: bool) -> Iterator[None]:
    """The folder with these settings, and for this run alone if `alone`."""
    try:
        folder.scratch.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.scratch)
        path = folder.root / _SETTINGS
        if path.exists():
            was = json.loads(read_bounded(path, _MOST_BYTES))
            if was["key"] != settings.key():
                raise OutputError(
                    f"{folder.root} holds clips that were made with other settings",
                    fix=f"Choose another folder, or the settings in {path}",
                )
        with whole_file(path) as file:
            said = {"key": settings.key(), "settings": settings.model_dump()}
            file.write(json.dumps(said, indent=1).encode())
        lock = lock_file(folder.root / ".lock") if alone else os.open(path, os.O_RDONLY)
    except (ValueError, LookupError) as error:
        raise OutputError(f"the settings of {folder.root} cannot be read", got=str(error)) from error
    if lock is None:
        raise OutputError(f"another build works in {folder.root}", fix="Wait until it has ended")
    try:
        yield
    finally:
        os.close(lock)
