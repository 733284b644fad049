"""report.html: the figures with curves, frames and a video, in one file that needs no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from openemo.errors import printable
from openemo.evaluation import rows
from openemo.evaluation.benchmark_clips import Clip
from openemo.evaluation.jobs import EvaluationSettings, shown_video
from openemo.evaluation.records import Measured
from openemo.evaluation.report.embedded_media import contact_sheet_uri, side_by_side_uri
from openemo.evaluation.report.plots import curves_svg, intervals_svg
from openemo.evaluation.report.report import BETTER, Report, figure, interval

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["html_page", "page_environment"]

_ARROWS = {"higher": "↑", "lower": "↓", "near_real": "≈ real", "info": ""}
_KEY_FIGURES = ("lip_r", "lip_concordance", "sync_own_in_step", "sync_own_confidence", "sync_c")


def html_page(report: Report, settings: EvaluationSettings, measured: Measured) -> str:
    """The whole page as text, from `templates/page.html.j2`."""
    environment = page_environment("openemo.evaluation.report")
    environment.filters |= {"figure": figure, "interval": interval}
    by_name = {clip.name: clip for clip in measured}
    ranked = [by_name[name] for name in _by_lips(report)]
    return environment.get_template("page.html.j2").render(
        report=report,
        row_titles=rows.ROW_TITLES,
        better=BETTER,
        arrows=_ARROWS,
        key_figures=_key_figures(report),
        examples=_examples(report, settings, measured, ranked),
        curve_rows=[row for row in (rows.REAL, report.subject, rows.SILENCE) if row in report.rows],
        clips=[_clip(report, measured, clip) for clip in ranked],
        clip_keys=_clip_keys(report),
    )


def page_environment(*packages: str) -> Environment:
    """Templates of these packages, which may include each other's; what they show is escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
        finalize=_shown,
        keep_trailing_newline=True,
    )


def _shown(value: Any) -> Any:
    """Texts without what would act on the page: control characters and bidirectional overrides."""
    from markupsafe import Markup

    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _by_lips(report: Report) -> list[str]:
    """Clips by the subject's r, worst first. Clips without an r come before all others."""
    values = dict(zip(report.clips, report.column(report.subject, "lip_r"), strict=True))
    return sorted(values, key=lambda name: -np.inf if np.isnan(values[name]) else values[name])


def _key_figures(report: Report) -> list[tuple[str, str]]:
    """Title and plot of each key figure that has an interval in any row."""
    boxes = []
    for key in _KEY_FIGURES:
        bars = {}
        for row, figures in report.summary.items():
            found = figures.get(key)
            if found and found.value is not None and found.low is not None and found.high is not None:
                bars[row] = found.value, found.low, found.high
        if bars:
            title = report.metrics[key].title
            boxes.append((title, intervals_svg(bars, title, report.subject)))
    return boxes


def _examples(
    report: Report, settings: EvaluationSettings, measured: Measured, ranked: list[Clip]
) -> list[dict[str, Any]]:
    """The median clip with a video, and the worst one where that is another."""
    median, worst = ranked[len(ranked) // 2], ranked[0]
    chosen = {"Median clip": median} if worst is median else {"Median clip": median, "Worst clip": worst}
    examples = []
    for title, clip in chosen.items():
        made = shown_video(settings, clip)
        examples.append(
            _clip(report, measured, clip)
            | {
                "title": title,
                "video": side_by_side_uri(clip.path, made) if clip is median else None,
                "frames": contact_sheet_uri([clip.path, made]),
            }
        )
    return examples


def _clip(report: Report, measured: Measured, clip: Clip) -> dict[str, Any]:
    """Name, correlation and mouth curves of a clip, of the first seed of each row."""
    value = report.rows[report.subject][clip.name].get("lip_r")
    records = measured[clip]
    curves = {}
    for row in (rows.SILENCE, rows.REAL, report.subject):  # the last one is drawn on top
        seeds = [seed for of_row, seed in records if of_row == row]
        if seeds:
            record = records[row, seeds[0]]
            curves[row] = (record.opening, record.fps)
    return {
        "name": clip.name,
        "correlation": "" if value is None else f", r = {value:.2f}",
        "curves": curves_svg(curves, f"mouth opening in {clip.name}"),
    }


def _clip_keys(report: Report) -> list[str]:
    """Metrics that have a figure for each clip: those of the whole set have none."""
    figures = report.rows[report.subject].values()
    return [key for key in report.metrics if any(key in values for values in figures)]
