"""The report of an evaluation: as JSON for programs, as Markdown for people."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from openemo.errors import ConfigError, InputError, OutputError, printable
from openemo.evaluation.metrics.confidence import Estimate
from openemo.evaluation.records import write_json
from openemo.evaluation.rows import REAL, ROW_TITLES
from openemo.files import read_bounded, try_to_write, whole_file

__all__ = [
    "BETTER",
    "MetricFacts",
    "OrderCheck",
    "Report",
    "check_report_folder",
    "figure",
    "load_report",
    "markdown",
    "plain",
    "save_report",
    "save_text",
]

_MOST_BYTES: Final = 256 * 2**20  # a clip has a few kB in each row
Better = Literal["higher", "lower", "near_real", "info"]
# What Markdown acts on. A dot or colon only where it makes a link, an underscore only at a word's edge.
_MARKDOWN: Final = re.compile(
    r"[\\`*\[\]<>|~#!&@]|(?<=www)\.|:(?=//)|(?<![^\W_])_|_(?![^\W_])", re.IGNORECASE
)
BETTER: Final[dict[Better, str]] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "near_real": "should be near the real clips'",
    "info": "neither high nor low is good",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricFacts(_Part):
    """What a figure is. Attributes as in `openemo.evaluation.metrics.registry.Metric`."""

    title: str
    unit: str
    better: Better
    source: str


class OrderCheck(_Part):
    """Whether one row is above another, as it must be if the metric measures what it says.

    Attributes:
        difference: `higher` minus `lower`, paired over clips.
        verdict: "as expected" or "reversed" only if the interval excludes zero.
    """

    metric: str
    higher: str
    lower: str
    difference: Estimate
    verdict: Literal["as expected", "reversed", "within noise"]


class Report(_Part):
    """One evaluation.

    Attributes:
        subject: the row that was measured.
        title: the model or the folder of videos, as given.
        seeds: the figure of a clip is the mean over them.
        clips: sha256 by file name, of the clips in all rows.
        failures: reason by file name, of the clips left out of all rows.
        metrics: in the order of the table.
        rows: figure by row, clip and metric; None if it cannot be measured.
        summary: mean or median over clips by row and metric. Figures of a whole set are only here.
        seed_spread: standard deviation between seeds of the subject's means; empty with one seed.
        notes: what readers need to know to read the figures.
    """

    harness_version: int
    subject: str
    title: str
    command: str
    environment: dict[str, str]
    seeds: tuple[int, ...]
    clips: dict[str, str]
    failures: dict[str, str]
    metrics: dict[str, MetricFacts]
    rows: dict[str, dict[str, dict[str, float | None]]]
    summary: dict[str, dict[str, Estimate]]
    seed_spread: dict[str, float]
    order: list[OrderCheck]
    notes: list[str]

    @model_validator(mode="after")
    def _parts_belong_together(self) -> Self:
        if self.subject not in self.rows or self.subject not in self.summary:
            raise ValueError(f"there is no row {self.subject!r}")
        if any(self.clips.keys() - self.rows[row].keys() for row in (self.subject, REAL) if row in self.rows):
            raise ValueError("a row lacks clips")
        named = {key for figures in self.summary.values() for key in figures}
        if (named | {check.metric for check in self.order}) - self.metrics.keys():
            raise ValueError("there are figures of unknown metrics")
        return self

    def column(self, row: str, metric: str) -> list[float]:
        """The figure of each clip, in the order of `clips`; NaN if there is none."""
        values = (self.rows[row][clip].get(metric) for clip in self.clips)
        return [float("nan") if value is None else value for value in values]


def check_report_folder(folder: Path) -> None:
    """Check before the work starts that the report can be made, and make its folder.

    Raises:
        ConfigError: a library of the page is missing. OutputError: the folder cannot be written to.
    """
    for library in ("jinja2", "matplotlib"):
        if find_spec(library) is None:
            raise ConfigError(f"the report needs {library}", fix="pip install 'openemo[evaluate]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try_to_write(folder)
    except OSError as error:
        raise OutputError(
            f"the folder {folder} cannot be written to", got=error.strerror, fix="Give another folder with -o"
        ) from error


def save_report(path: Path, report: Report) -> None:
    """Write JSON with null for missing figures. Raises OutputError."""
    write_json(path, report.model_dump(mode="json"))


def load_report(path: Path) -> Report:
    """Load a report's JSON, or the one in a report's folder. Raises InputError if it is not a report."""
    path = path / "report.json" if path.is_dir() else path
    fix = "Give the report.json that `openemo evaluate` wrote"
    try:
        return Report.model_validate_json(read_bounded(path, _MOST_BYTES))
    except OSError as error:
        raise InputError(f"the report {path} cannot be read", got=error.strerror, fix=fix) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"{path} is not a report", got=f"{place}: {first['msg']}", fix=fix) from error


def save_text(path: Path, text: str) -> None:
    """Write the whole text file or nothing. Raises OutputError."""
    try:
        with whole_file(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written", got=error.strerror) from error


def figure(value: float | None) -> str:
    """Three significant digits; "-" if it could not be measured."""
    if value is None:
        return "-"
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    text = f"{value:.3g}"
    if "e" in text:
        text = f"{value:.5f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def interval(estimate: Estimate) -> str:
    """Such as "0.61 [0.55, 0.67]"; "-" if there is no figure."""
    if estimate.low is None or estimate.high is None:
        return figure(estimate.value)
    return f"{figure(estimate.value)} [{figure(estimate.low)}, {figure(estimate.high)}]"


def plain(text: str) -> str:
    """A text as Markdown shows it: names of files, which others chose, format nothing and link nowhere."""
    line = " ".join(printable(text).split())
    return _MARKDOWN.sub(r"\\\g<0>", line)


def markdown(report: Report) -> str:
    """The table with intervals, the order of the rows, clips left out, and how to reproduce it."""
    rows = list(report.summary)
    lines = [
        f"# Evaluation of {plain(report.title)}",
        "",
        f"{len(report.clips)} clips, seeds {', '.join(map(str, report.seeds))}; mean over clips, or median "
        "where the source says so, [95 % bootstrap interval over clips].",
        "",
        "| | " + " | ".join(rows) + " | |",
        "|---|" + "---|" * (len(rows) + 1),
    ]
    for key, facts in report.metrics.items():
        cells = [interval(report.summary[row][key]) if key in report.summary[row] else "-" for row in rows]
        unit = f", {facts.unit}" if facts.unit else ""
        lines.append(f"| {facts.title}{unit} | {' | '.join(cells)} | {BETTER[facts.better]} |")
    lines += ["", "Rows: " + "; ".join(f"{row}: {ROW_TITLES[row]}" for row in rows) + ".", ""]
    lines += ["## Are the rows in the order they should be in?", ""]
    lines += [
        f"- {report.metrics[check.metric].title}: {check.higher} over {check.lower} by "
        f"{interval(check.difference)}: {check.verdict}"
        for check in report.order
    ]
    if report.failures:
        lines += ["", f"## {len(report.failures)} clips left out of all rows", ""]
        lines += [f"- {plain(name)}: {plain(reason)}" for name, reason in report.failures.items()]
    command = " ".join(printable(report.command).split())
    lines += ["", "## How it was measured", "", f"    {command}", ""]
    lines += [f"- {plain(name)}: {plain(value)}" for name, value in report.environment.items()]
    lines += [f"- {note}" for note in report.notes]
    lines += ["", "## What the figures are", ""]
    lines += [f"- {facts.title} (`{key}`): {facts.source}" for key, facts in report.metrics.items()]
    return "\n".join(lines) + "\n"
