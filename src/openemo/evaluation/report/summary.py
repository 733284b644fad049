"""Turns the records of all clips into the figures of the report."""

from __future__ import annotations

from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.errors import printable
from openemo.evaluation import rows
from openemo.evaluation.jobs import HARNESS_VERSION, EvaluationSettings
from openemo.evaluation.metrics import frame_statistics as over_frames
from openemo.evaluation.metrics.confidence import MIN_CLIPS, Estimate, bootstrap, paired_difference
from openemo.evaluation.metrics.registry import METRICS, Metric
from openemo.evaluation.records import Measured
from openemo.evaluation.report.report import MetricFacts, OrderCheck, Report

__all__ = ["summarise"]

Figures = dict[str, dict[str, dict[str, float | None]]]
"""By row, clip and metric."""

_OWN: Final = (
    (
        "lip_lag_within_1",
        "best lag within a frame",
        "share of clips",
        "higher",
        "share of |lip_lag_frames| <= 1",
    ),
    (
        "silence_over_speech_spread",
        "spread of the mouth's opening on silence over that in speech",
        "",
        "lower",
        "sum over clips of silence_spread over that of lip_spread; interval over clips",
    ),
    ("picture_delay_ms", "first frame after the file's clock", "ms", "info", "timestamps of the file"),
    ("speed_s_per_s", "work per second of video", "s", "lower", "wall clock; encoding in, loading out"),
    ("speed_first_frame_s", "delay of the first frame", "s", "lower", "wall clock from call to frame"),
    ("speed_peak_memory_mb", "peak memory", "MB", "lower", "resident in the process, or allocated by CUDA"),
)
_POOLED: Final = {"silence_over_speech_spread": ("silence_spread", "lip_spread")}
# Metrics whose rows have a known order: a row that follows the voice must be above one that does not.
_ORDERED: Final = ("lip_r", "lip_concordance", "sync_own_in_step", "sync_own_confidence", "sync_c")


def summarise(
    settings: EvaluationSettings,
    measured: Measured,
    failures: dict[str, str],
    *,
    title: str,
    command: str,
    environment: dict[str, str],
    sets: dict[str, dict[str, Estimate]],
) -> Report:
    """All figures with their intervals.

    Args:
        sets: figures of whole sets of clips, by row and metric.
    """
    figures = _figures(measured)
    present = {key for clips in figures.values() for values in clips.values() for key in values}
    present |= set(_POOLED) | set(chain.from_iterable(sets.values()))
    metrics = {
        metric.key: MetricFacts(
            title=metric.title, unit=metric.unit, better=metric.better, source=metric.source
        )
        for metric in (*METRICS.values(), *_own_metrics())
        if metric.key in present
    }
    summary = {
        row: {
            key: _estimate(clips, key)
            for key in metrics
            if key not in sets.get(row, {}) and (key not in _POOLED or row == settings.subject)
        }
        | sets.get(row, {})
        for row, clips in figures.items()
    }
    summary = {
        row: {key: found for key, found in keyed.items() if found.clips} for row, keyed in summary.items()
    }
    return Report(
        harness_version=HARNESS_VERSION,
        subject=settings.subject,
        # Texts that users and files bring; a JSON file cannot hold all that a path can.
        title=printable(title),
        command=printable(command),
        environment={name: printable(value) for name, value in environment.items()},
        seeds=settings.seeds,
        clips={clip.name: clip.sha256 for clip in measured},
        failures={printable(name): printable(reason) for name, reason in failures.items()},
        metrics={
            key: facts for key, facts in metrics.items() if any(key in keyed for keyed in summary.values())
        },
        rows=figures,
        summary=summary,
        seed_spread=_seed_spread(measured, settings.subject),
        order=_order_checks(figures, settings.subject, tuple(key for key in _ORDERED if key in metrics)),
        notes=_notes(settings, len(measured)),
    )


def _own_metrics() -> tuple[Metric, ...]:
    """Metrics that the harness measures itself, or computes of several figures."""
    return tuple(Metric(*facts, function=None) for facts in _OWN)


def _order_checks(figures: Figures, subject: str, keys: tuple[str, ...]) -> list[OrderCheck]:
    """Checks the real clip over the subject, and both over all rows that the voice does not drive."""
    others = [row for row in (rows.MISMATCHED, rows.SILENCE, rows.FROZEN) if row in figures]
    pairs = [(rows.REAL, subject), *((subject, other) for other in others)]
    pairs += [(rows.REAL, other) for other in others]
    checks = []
    for key in keys:
        for higher, lower in pairs:
            if higher not in figures or lower not in figures:
                continue
            clips = [clip for clip in figures[higher] if clip in figures[lower]]
            above, below = ([_nan(figures[row][clip].get(key)) for clip in clips] for row in (higher, lower))
            difference = paired_difference(above, below)
            if difference.value is not None:
                verdict = "within noise"
                if difference.excludes_zero:
                    verdict = "as expected" if difference.value > 0 else "reversed"
                checks.append(
                    OrderCheck.model_validate(
                        {
                            "metric": key,
                            "higher": higher,
                            "lower": lower,
                            "difference": difference,
                            "verdict": verdict,
                        }
                    )
                )
    return checks


def _figures(measured: Measured) -> Figures:
    """The mean of each clip over the seeds that could be measured."""
    figures: Figures = {}
    for clip, records in measured.items():
        for row in dict.fromkeys(row for row, _ in records):
            values = [record.values for (of_row, _), record in records.items() if of_row == row]
            figures.setdefault(row, {})[clip.name] = _mean_over_seeds(values)
    return figures


def _mean_over_seeds(values: list[dict[str, float | None]]) -> dict[str, float | None]:
    result: dict[str, float | None] = {}
    for key in values[0]:
        mean = over_frames.mean(np.array([_nan(one[key]) for one in values]))
        result[key] = mean if np.isfinite(mean) else None
    lags = [lag for one in values if (lag := one.get("lip_lag_frames")) is not None]
    result["lip_lag_within_1"] = float(np.mean([abs(lag) <= 1 for lag in lags])) if lags else None
    return result


def _estimate(clips: dict[str, dict[str, float | None]], key: str) -> Estimate:
    if key in _POOLED:
        columns = [[_nan(values.get(part)) for part in _POOLED[key]] for values in clips.values()]
        return bootstrap(np.array(columns), _ratio_of_sums)
    average = METRICS[key].average if key in METRICS else "mean"
    column = [_nan(values.get(key)) for values in clips.values()]
    return bootstrap(column, _median if average == "median" else None)


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, clips) -> (R,)."""
    return np.asarray(np.median(values, axis=1))


def _ratio_of_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R, clips, 2) -> (R,); NaN if the divisor is zero."""
    part, whole = np.moveaxis(values.sum(axis=1), -1, 0)
    return np.where(whole == 0, np.nan, part / np.where(whole == 0, 1, whole))


def _seed_spread(measured: Measured, row: str) -> dict[str, float]:
    """Standard deviation over seeds of the row's mean over clips."""
    by_seed: dict[int, list[dict[str, float | None]]] = {}
    for records in measured.values():
        for (of_row, seed), record in records.items():
            if of_row == row:
                by_seed.setdefault(seed, []).append(record.values)
    if len(by_seed) < 2:
        return {}
    spreads = {}
    for key in next(iter(by_seed.values()))[0]:
        means = np.array(
            [over_frames.mean(np.array([_nan(one[key]) for one in values])) for values in by_seed.values()]
        )
        if np.isfinite(means).all():
            spreads[key] = float(means.std(ddof=1))
    return spreads


def _notes(settings: EvaluationSettings, num_clips: int) -> list[str]:
    notes = [
        "Figures compare only within one harness version, over the same clips.",
    ]
    if settings.videos is None:
        notes.append("Videos are measured as written: H.264 with PCM sound, the whole picture of the clip.")
    if rows.MISMATCHED not in settings.rows or num_clips < 2:
        notes.append('There is no row "mismatched": it needs two clips or more.')
    elif settings.videos is not None:
        notes.append(
            'The row "mismatched" is the video of the next clip beside this clip\'s voice; it shows another '
            "person, so that only lips and synchrony are measured."
        )
    if rows.SILENCE not in settings.rows:
        notes.append(
            'There is no row "silence": the videos that were made of digital silence were not given. Without '
            "it a mouth that never rests can lead."
        )
    if num_clips < 10:
        notes.append(
            f"{num_clips} clips are few: the intervals are wide and still too narrow. "
            f"With fewer than {MIN_CLIPS} no difference is called beyond noise."
        )
    return notes


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
