"""Commands and options that documents, recipes and error messages name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from typer.core import TyperGroup
from typer.main import get_command

from openemo.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = get_command(app)
# These tell what was run at the time.
HISTORY = ("docs/log", "docs/results")
COMMAND = re.compile(r"\bopenemo ((?:(?!openemo )[^`\n\"|#;,)])+)")
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")


def documents() -> list[str]:
    patterns = ("*.md", "docs/**/*.md", "recipes/*.yaml", "benchmarks/*.md", "benchmarks/*.yaml", "Makefile")
    paths = chain.from_iterable(REPOSITORY.glob(pattern) for pattern in (*patterns, "src/openemo/**/*.py"))
    names = (path.relative_to(REPOSITORY).as_posix() for path in paths)
    return sorted(name for name in names if not name.startswith(HISTORY))


def commands(text: str) -> Iterator[list[str]]:
    """Words after `openemo`, where the first is that of a command; continued lines are one."""
    assert isinstance(ROOT, TyperGroup)
    for match in COMMAND.finditer(text.replace("\\\n", " ")):
        words = match[1].split()
        if words and words[0] in ROOT.commands:
            yield words


def unknown(words: list[str]) -> list[str]:
    """The options, or the name of the command of a group, that do not exist."""
    command, rest = ROOT, list(words)
    while isinstance(command, TyperGroup) and rest and re.fullmatch(r"[a-z]+", rest[0]):
        name = rest.pop(0)
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    names = ((*option.opts, *option.secondary_opts) for option in command.params)
    known = {"-h", "--help", *chain.from_iterable(names)}
    return [option for option in OPTION.findall(" ".join(rest)) if option not in known]


def test_options_of_documented_commands_exist() -> None:
    found = {name: list(commands((REPOSITORY / name).read_text(encoding="utf-8"))) for name in documents()}
    assert sum(map(len, found.values())) > 50
    wrong = {(name, " ".join(words)): unknown(words) for name, read in found.items() for words in read}
    assert {where: names for where, names in wrong.items() if names} == {}


def test_wrong_commands_are_found() -> None:
    text = (
        "`openemo animate a b -o c --fame 1`, `openemo weights find`, `openemo weights \\\n list`, openemo is"
    )
    assert [unknown(words) for words in commands(text)] == [["--fame"], ["find"], []]
