"""report.html: one file that needs nothing beside it, to look at what the figures say."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np

from openemo.evaluation import rows
from openemo.evaluation.clips import Clip
from openemo.evaluation.jobs import Settings, shown_video
from openemo.evaluation.page_style import SCRIPT, STYLE
from openemo.evaluation.plots import curves_svg, intervals_svg, jpeg_uri, sheet, side_by_side_uri
from openemo.evaluation.records import Measured
from openemo.evaluation.report import BETTER, Report, figure, interval

__all__ = ["html_page"]

_ARROWS = {"higher": "↑", "lower": "↓", "near_real": "≈ real", "info": ""}
_KEY_FIGURES = ("lip_r", "lip_concordance", "sync_own_in_step", "sync_own_confidence", "sync_c")


def html_page(report: Report, settings: Settings, measured: Measured) -> str:
    """The whole page as text."""
    clips = {clip.name: clip for clip in measured}
    ranked = _by_lips(report)
    median, worst = clips[ranked[len(ranked) // 2]], clips[ranked[0]]
    parts = [
        _head(report),
        _key_figures(report),
        _order(report),
        _table(report),
        "<h2>Median clip</h2>",
        _video(settings, median),
        _clip(report, settings, measured, median),
    ]
    if worst is not median:
        parts += ["<h2>Worst clip</h2>", _clip(report, settings, measured, worst)]
    parts += [
        _all_curves(report, measured, [clips[name] for name in ranked]),
        _clip_table(report),
        _method(report),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation of {escape(report.title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _by_lips(report: Report) -> list[str]:
    """Clips by the subject's r, worst first; those without one first of all."""
    values = dict(zip(report.clips, report.column(report.subject, "lip_r"), strict=True))
    return sorted(values, key=lambda name: -np.inf if np.isnan(values[name]) else values[name])


def _head(report: Report) -> str:
    failed = f", <b>{len(report.failures)} left out</b>" if report.failures else ""
    return (
        f"<h1>Evaluation of {escape(report.title)}</h1>"
        f"<p>{len(report.clips)} clips{failed}, seeds {', '.join(map(str, report.seeds))}. Figures are "
        "means over clips with a 95 % bootstrap interval over clips.</p>"
    )


def _key_figures(report: Report) -> str:
    boxes = []
    for key in _KEY_FIGURES:
        bars = {
            row: (found.value, found.low, found.high)
            for row, keyed in report.summary.items()
            if (found := keyed.get(key)) is not None
        }
        whole = {
            row: (value, low, high)
            for row, (value, low, high) in bars.items()
            if value is not None and low is not None and high is not None
        }
        if whole:
            title = report.metrics[key].title
            boxes.append(
                f"<figure><figcaption>{escape(title)}</figcaption>{intervals_svg(whole, title)}</figure>"
            )
    return f'<div class="boxes">{"".join(boxes)}</div>'


def _order(report: Report) -> str:
    lines = "".join(
        f"<tr><td>{escape(report.metrics[check.metric].title)}</td><td>{check.higher} over {check.lower}</td>"
        f'<td class="number">{interval(check.difference)}</td>'
        f'<td class="{check.verdict.replace(" ", "-")}">{check.verdict}</td></tr>'
        for check in report.order
    )
    return (
        "<h2>Are the rows in the order they should be in?</h2><p>Paired over clips. A metric that does not "
        "put the real clip and the voice-driven video over the others does not measure what it says.</p>"
        '<div class="wide"><table><tr><th>metric</th><th>rows</th><th>difference</th><th></th></tr>'
        f"{lines}</table></div>"
    )


def _table(report: Report) -> str:
    heads = "".join(
        f'<th class="number" title="{escape(rows.ROW_TITLES[row])}">{row}</th>' for row in report.summary
    )
    lines = []
    for key, facts in report.metrics.items():
        cells = []
        for row, keyed in report.summary.items():
            found = keyed.get(key)
            kind = "number subject" if row == report.subject else "number"
            if found is None:
                cells.append(f'<td class="{kind}">-</td>')
                continue
            bounds = (
                "" if found.low is None else f"<small>{figure(found.low)} to {figure(found.high)}</small>"
            )
            cells.append(f'<td class="{kind}">{figure(found.value)}{bounds}</td>')
        unit = f" <small>{escape(facts.unit)}</small>" if facts.unit else ""
        lines.append(
            f'<tr><th title="{escape(facts.source)}">{escape(facts.title)}{unit}</th>{"".join(cells)}'
            f'<td title="{BETTER[facts.better]}">{_ARROWS[facts.better]}</td></tr>'
        )
    meaning = "".join(f"<li><b>{row}</b>: {escape(rows.ROW_TITLES[row])}</li>" for row in report.summary)
    return (
        '<h2>All figures</h2><div class="wide"><table>'
        f"<tr><th></th>{heads}<th></th></tr>{''.join(lines)}</table>"
        f"</div><ul>{meaning}</ul>{_failures(report)}"
    )


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    lines = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in report.failures.items())
    return f"<h2>Left out of all rows</h2><ul>{lines}</ul>"


def _video(settings: Settings, clip: Clip) -> str:
    made = shown_video(settings, clip)
    return (
        f'<video controls playsinline src="{side_by_side_uri(clip.path, made)}"></video>'
        "<p>Left the real clip, right the made one, with the real sound.</p>"
    )


def _clip(report: Report, settings: Settings, measured: Measured, clip: Clip) -> str:
    made = shown_video(settings, clip)
    return (
        f"<p>{escape(clip.name)}{_facts(report, clip)}. Above the real frames, below the made ones.</p>"
        f'<img alt="frames of {escape(clip.name)}" src="{jpeg_uri(sheet([clip.path, made]))}">'
        f"{_curves(report, measured, clip)}"
    )


def _facts(report: Report, clip: Clip) -> str:
    value = report.rows[report.subject][clip.name].get("lip_r")
    return "" if value is None else f", r = {value:.2f}"


def _curves(report: Report, measured: Measured, clip: Clip) -> str:
    records = measured[clip]
    curves = {}
    for row in (rows.SILENCE, rows.REAL, report.subject):  # the last one lies on top
        seeds = [seed for of_row, seed in records if of_row == row]
        if seeds:
            record = records[row, seeds[0]]
            curves[row] = (record.opening, record.fps)
    return curves_svg(curves, f"mouth opening in {clip.name}")


def _all_curves(report: Report, measured: Measured, clips: Iterable[Clip]) -> str:
    plots = "".join(
        f"<figure><figcaption>{escape(clip.name)}{_facts(report, clip)}</figcaption>"
        f"{_curves(report, measured, clip)}</figure>"
        for clip in clips
    )
    legend = "".join(
        f'<span class="key {row}"></span>{row} '
        for row in (rows.REAL, report.subject, rows.SILENCE)
        if row in report.rows
    )
    return (
        "<h2>Mouth opening over time</h2><p>Gap between the inner lips over the width of the face, worst "
        f'clip first. {legend}</p><div class="plots">{plots}</div>'
    )


def _clip_table(report: Report) -> str:
    keys = [
        key for key in report.metrics if any(key in values for values in report.rows[report.subject].values())
    ]
    heads = "".join(
        f'<th class="number" title="{escape(report.metrics[key].title)}">{key}</th>' for key in keys
    )
    lines = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(f'<td class="number">{figure(values.get(key))}</td>' for key in keys)
        + "</tr>"
        for name, values in report.rows[report.subject].items()
    )
    return (
        f"<details><summary>Each clip, row {report.subject}</summary>"
        '<div class="wide"><table class="sortable">'
        f"<tr><th>clip</th>{heads}</tr>{lines}</table></div></details>"
    )


def _method(report: Report) -> str:
    facts = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in report.environment.items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    sources = "".join(
        f"<li><b>{escape(facts.title)}</b> <code>{escape(key)}</code>: {escape(facts.source)}</li>"
        for key, facts in report.metrics.items()
    )
    hashes = "".join(
        f"<li>{escape(name)} <code>{digest}</code></li>" for name, digest in report.clips.items()
    )
    return (
        f"<h2>How it was measured</h2><pre>{escape(report.command)}</pre><ul>{facts}{notes}</ul>"
        "<details><summary>What the figures are, and where they come from</summary>"
        f"<ul>{sources}</ul></details>"
        f"<details><summary>Clips and their SHA-256</summary><ul>{hashes}</ul></details>"
    )
