"""report.html of a build: one file that needs no other and asks no other host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from openemo.corpus.build_settings import FPS, BuildSettings
from openemo.corpus.clip_filters import CLIP_FILTERS, SET_REASONS
from openemo.corpus.collecting import EARLIER, SPLITS, Corpus
from openemo.evaluation.report.html_page import page_environment
from openemo.evaluation.report.plots import histogram_svg

__all__ = ["corpus_page"]

_MOST_ROWS = 200


def corpus_page(corpus: Corpus, settings: BuildSettings, title: str) -> str:
    """The whole page as text, from `templates/corpus.html.j2`."""
    environment = page_environment("openemo.corpus", "openemo.evaluation.report")
    environment.filters |= {"hours": _hours}
    hours = corpus.seconds[""] / 3600
    core_hours = corpus.cpu_s / 3600
    per_core_hour = (corpus.read_s / 3600 / core_hours, hours / core_hours) if core_hours else (0.0, 0.0)
    return environment.get_template("corpus.html.j2").render(
        title=title,
        corpus=corpus,
        settings=settings.model_dump(),
        fps=FPS,
        funnel=list(_funnel(corpus)),
        filters=[_filter(one, corpus, settings) for one in CLIP_FILTERS],
        later=[(reason, corpus.clips[reason]) for reason in (*SET_REASONS, EARLIER)],
        examples=_examples(corpus),
        splits=[(split, corpus.split_s[split], len(corpus.split_people[split])) for split in SPLITS],
        people=corpus.people.most_common(_MOST_ROWS),
        shifts=sorted(corpus.shifts.items()),
        licences=corpus.licences.most_common(_MOST_ROWS),
        quarantined=corpus.quarantined[:_MOST_ROWS],
        per_core_hour=per_core_hour,
    )


def _funnel(corpus: Corpus) -> Iterator[tuple[str, float, int | None]]:
    """What is left after each step: its name, seconds of faces, clips."""
    yield "read", corpus.read_s, None
    yield "faces in it", corpus.faces_s, None
    seconds, clips = sum(corpus.seconds.values()), sum(corpus.clips.values())
    yield "long enough for a clip", seconds, clips
    known = [one.reason for one in CLIP_FILTERS]
    others = [reason for reason in corpus.clips if reason and reason not in known]
    for reason in (*known, *others):
        if corpus.clips[reason]:
            seconds, clips = seconds - corpus.seconds[reason], clips - corpus.clips[reason]
            yield f"without: {reason}", seconds, clips


def _filter(one: Any, corpus: Corpus, settings: BuildSettings) -> dict[str, Any]:
    limit, values = one.limit(settings), corpus.scores.get(one.score)
    return {
        "reason": one.reason,
        "setting": one.setting,
        "limit": f"{limit:g} {one.unit}".strip(),
        "first": corpus.clips[one.reason],
        "failed": corpus.failed[one.reason],
        "plot": histogram_svg(values, one.score, limit, is_least=one.is_least) if values else "",
    }


def _examples(corpus: Corpus) -> list[tuple[str, list[tuple[str, str]]]]:
    """Pictures of the clips that are kept, then those of each reason."""
    reasons = sorted(reason for reason in corpus.examples if reason)
    return [(reason, corpus.examples[reason]) for reason in ("", *reasons) if corpus.examples.get(reason)]


def _hours(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.2f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"
