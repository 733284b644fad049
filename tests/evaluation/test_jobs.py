"""Which code a record and a made video depend on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import openemo
from openemo.evaluation import jobs

PACKAGE = Path(openemo.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package's code that may be changed."""
    copy = tmp_path / "openemo"
    shutil.copytree(
        PACKAGE, copy, ignore=lambda _, names: [n for n in names if Path(n).suffix not in ("", ".py")]
    )
    monkeypatch.setattr(openemo, "__file__", str(copy / "__init__.py"))
    jobs.code_digest.cache_clear()
    yield copy
    jobs.code_digest.cache_clear()


def _digests() -> tuple[str, str]:
    """Of the code that measures, and of the code that makes videos."""
    jobs.code_digest.cache_clear()
    return jobs.code_digest("evaluation", jobs.SHOWING), jobs.code_digest("", jobs.NOT_MAKING)


@pytest.mark.parametrize("path", [*jobs.SHOWING, *jobs.NOT_MAKING])
def test_listed_code_exists(path: str) -> None:
    assert (PACKAGE / path).exists()


@pytest.mark.parametrize(
    ("changed", "measured_again", "made_again"),
    [
        ("evaluation/metrics/lips.py", True, False),
        ("evaluation/networks/syncnet.py", True, False),
        ("evaluation/rows.py", True, False),
        ("evaluation/report/html_page.py", False, False),
        ("evaluation/metrics/confidence.py", False, False),
        ("cli/evaluate.py", False, False),
        ("timing.py", False, True),
        ("video/video_writer.py", False, True),
    ],
)
def test_a_change_invalidates_what_depends_on_it(
    package: Path, changed: str, measured_again: bool, made_again: bool
) -> None:
    measuring, making = _digests()
    path = package / changed
    path.write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    assert [new != old for new, old in zip(_digests(), (measuring, making), strict=True)] == [
        measured_again,
        made_again,
    ]
