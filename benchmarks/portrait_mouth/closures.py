"""The part "closures": whether mouths shut at m, b and p, from photos with a shut and with an open mouth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.portrait_life.bench import RATE_HZ, Bench, Figures, Portraits
from benchmarks.portrait_life.motion import real_clips
from benchmarks.portrait_life.recordings import Recording
from benchmarks.portrait_mouth.people import opening_of, speaking
from benchmarks.portrait_mouth.visemes import FPS, people_of, sound_of, utterances
from openemo.arrays import Doubles
from openemo.data.speech_synthesis import Utterance
from openemo.data.visemes import viseme_of
from openemo.evaluation.metrics.mouth_shape import ClosureCounts, count_closures

GOALS = {"shut": 0.85, "open": 0.70, "false": 0.07}
MAY_SHUT = ("pause", "m b p", "f v", "soft b", "s z", "w")
EVERY = 3  # clips of one person: others take those between
MAYBE, ASIDE = 0.015, 0.05  # openings, face widths


def closures(bench: Bench) -> Figures:
    """Closures of four strangers with a shut mouth in the photo and four with an open, smiling one.

    With three or four sentences of GRID speakers each, against the real mouth as `openemo evaluate` does; one
    with another clip's sound stands beside it. With synthetic voices where there are videos: m, b and p
    against the times of their phones.
    """
    clips = real_clips(bench)["GRID others"]
    shut, wide = bench.strangers_by_rest
    figures: Figures = {"goals": GOALS}
    for name, people in (("shut", shut), ("open", wide)):
        openings = driven_openings(bench, people, clips)
        figures[name] = {
            person: counted([(ours, opening_of(clips[key])) for key, ours in videos.items()])
            for person, videos in openings.items()
        }
        pairs = [(ours, key) for videos in openings.values() for key, ours in videos.items()]
        figures[f"{name}, all"] = counted([(ours, opening_of(clips[key])) for ours, key in pairs])
        figures[f"{name}, another clip's sound"] = counted(
            [(ours, opening_of(clips[pairs[index - 1][1]])) for index, (ours, _) in enumerate(pairs)]
        )
    return figures | {"synthetic voices": with_phones(bench)}


def driven_openings(
    bench: Bench, people: Portraits, clips: Mapping[tuple[str, str], Recording]
) -> dict[str, dict[tuple[str, str], Doubles]]:
    """Openings by person and clip: some of the clips for each person, in turns."""
    return {
        person[0].stem: {
            key: opening_of(speaking(bench, person, key[0], clips[key].audio.mono().resample(RATE_HZ)))
            for key in list(clips)[number % EVERY :: EVERY]
        }
        for number, person in enumerate(people)
    }


def counted(pairs: Sequence[tuple[Doubles, Doubles]]) -> Figures:
    """Closures of all these clips together."""
    rows = [count_closures(ours, real, FPS) for ours, real in pairs]
    total = ClosureCounts(*(int(sum(column)) for column in zip(*rows, strict=True)))
    return total._asdict() | {"share": total.share, "false_share": total.false_share}


def with_phones(bench: Bench) -> Figures:
    voices = utterances(bench)
    return {
        person[0].stem: counted(
            [
                (opening_of(speaking(bench, person, name, sound_of(voice))), phone_curve(voice))
                for name, voice in voices.items()
            ]
        )
        for person in people_of(bench)
    }


def phone_curve(utterance: Utterance) -> Doubles:
    """(F,) shut in the frames in which lips have to be, neither shut nor open where they may, else open."""
    times_s = (np.arange(int(utterance.duration_s * FPS)) + 0.5) / FPS
    opening = np.full(len(times_s), ASIDE)
    for phone in utterance.phones:
        inside = (times_s >= phone.start_s) & (times_s < phone.end_s)
        kind = viseme_of(phone.symbol)
        opening[inside] = MAYBE if kind in MAY_SHUT else ASIDE
        if kind == "m b p":
            opening[np.abs(times_s - (phone.start_s + phone.end_s) / 2).argmin()] = 0.0
    return opening
