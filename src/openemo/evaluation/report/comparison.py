"""Compares two reports over the same clips: which differences are beyond noise."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from openemo.errors import ConfigError
from openemo.evaluation.metrics.confidence import Estimate, paired_difference
from openemo.evaluation.report.report import Report, interval, plain
from openemo.evaluation.rows import REAL

__all__ = ["Difference", "compare", "comparison_table"]

Verdict = Literal["A better", "B better", "differs", "within noise"]


class Difference(BaseModel):
    """The difference of one metric.

    Attributes:
        first, second: means of A and B over the clips.
        difference: A minus B, paired over clips. For a metric that should be near the real clips', it is the
            difference of the distances to the real clip's figure, so less is better.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    title: str
    first: Estimate
    second: Estimate
    difference: Estimate
    verdict: Verdict


def compare(first: Report, second: Report) -> list[Difference]:
    """Paired differences of the metrics that both have for each clip, in the order of the first report.

    Raises:
        ConfigError: the clips or the harness versions differ, so the figures do not compare.
    """
    _check(first, second)
    differences = []
    for key, facts in first.metrics.items():
        ours = first.column(first.subject, key)
        # In the first report's order of clips.
        theirs = [_nan(second.rows[second.subject][clip].get(key)) for clip in first.clips]
        if any(key not in report.summary[report.subject] for report in (first, second)):
            continue
        if key not in second.metrics or not (np.isfinite(ours) & np.isfinite(theirs)).any():
            continue
        if facts.better == "near_real":
            real = np.array(first.column(REAL, key)) if REAL in first.rows else np.full(len(ours), np.nan)
            difference = paired_difference(
                list(np.abs(np.array(ours) - real)), list(np.abs(np.array(theirs) - real))
            )
        else:
            difference = paired_difference(ours, theirs)
        differences.append(
            Difference(
                metric=key,
                title=facts.title,
                first=first.summary[first.subject][key],
                second=second.summary[second.subject][key],
                difference=difference,
                verdict=_verdict(difference, facts.better),
            )
        )
    return differences


def comparison_table(first: Report, second: Report, differences: list[Difference]) -> str:
    """Markdown with a line per metric, and how many differences chance would give."""
    beyond = sum(difference.verdict != "within noise" for difference in differences)
    lines = [
        f"A: {plain(first.title)}, seeds {', '.join(map(str, first.seeds))}",
        f"B: {plain(second.title)}, seeds {', '.join(map(str, second.seeds))}",
        f"{len(first.clips)} clips; A - B paired over clips, with 95 % bootstrap intervals.",
        "",
        "| | A | B | A - B | |",
        "|---|---|---|---|---|",
    ]
    for item in differences:
        near = " (distance to real)" if first.metrics[item.metric].better == "near_real" else ""
        lines.append(
            f"| {plain(item.title)}{near} | {interval(item.first)} | {interval(item.second)} "
            f"| {interval(item.difference)} | {item.verdict} |"
        )
    lines += [
        "",
        f"{beyond} of {len(differences)} figures differ beyond noise; among as many equal ones about "
        f"{0.05 * len(differences):.1f} would by chance.",
    ]
    return "\n".join(lines)


def _check(first: Report, second: Report) -> None:
    if first.harness_version != second.harness_version:
        raise ConfigError(
            "the reports are of different harness versions",
            got=f"{first.harness_version} and {second.harness_version}",
            fix="Measure both again with one version",
        )
    if first.clips != second.clips:
        only = {name for name, digest in first.clips.items() if second.clips.get(name) != digest}
        only |= {name for name, digest in second.clips.items() if first.clips.get(name) != digest}
        raise ConfigError(
            "the reports are over different clips",
            got=f"{len(only)} that are not in both, such as {min(only)}",
            expected="the same files",
            fix="Measure both over one list, with --list",
        )


def _verdict(difference: Estimate, better: str) -> Verdict:
    if not difference.excludes_zero or difference.value is None:
        return "within noise"
    if better == "info":
        return "differs"
    return "A better" if (difference.value > 0) == (better == "higher") else "B better"


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
