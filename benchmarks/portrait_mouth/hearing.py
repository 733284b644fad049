"""The part "hearing": how well lips follow voices in rooms, through codecs, under music, whispered."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from benchmarks.portrait_life.bench import RATE_HZ, Bench, Figures
from benchmarks.portrait_life.motion import real_clips
from benchmarks.portrait_mouth.people import speaking
from benchmarks.portrait_mouth.sound_kinds import KINDS, PACES
from openemo.arrays import Doubles
from openemo.audio.audio_reader import Audio
from openemo.evaluation.metrics.chance_correlation import correlate_beside_chance
from openemo.evaluation.metrics.viseme_shapes import MEASURES, mouth_measures

CLIPS = 6  # of other GRID speakers


def hearing(bench: Bench) -> Figures:
    """Opening and width against the real mouth, six GRID speakers' sentences, a row for each kind of sound.

    On strangers whose mouth is shut in the photo, in turns. A faster or slower voice has a mouth that is
    faster or slower. Beside it the position in the clip alone, and what was made with another clip's sound.
    """
    clips = {key[0]: one for key, one in list(real_clips(bench)["GRID others"].items())[:CLIPS]}
    people, figures = bench.strangers_by_rest[0], {}
    for kind, change in KINDS.items():
        made, real = [], []
        for number, (name, clip) in enumerate(clips.items()):
            voice = change(clip.audio.mono().resample(RATE_HZ).samples[0])
            label = name if kind == "as recorded" else f"{name}-{kind.replace(' ', '_')}"
            seen = speaking(bench, people[number % len(people)], label, Audio(voice[None], RATE_HZ))
            made.append(mouth_measures(seen.points_px))
            real.append(at_pace(mouth_measures(clip.points_px), PACES.get(kind, 1.0)))
        figures[kind] = {
            name: asdict(correlate_beside_chance(column(made, name), column(real, name)))
            for name in ("opening", "width")
        }
    (bench.output / "hearing.md").write_text(table(figures), encoding="utf-8")
    return figures


def column(curves: list[Doubles], name: str) -> list[Doubles]:
    return [each[:, MEASURES.index(name)] for each in curves]


def at_pace(curves_FM: Doubles, pace: float) -> Doubles:
    """The same mouth, faster by `pace`."""
    frames = np.arange(len(curves_FM))
    read = np.arange(0.5, len(curves_FM) / pace) * pace - 0.5
    return np.stack([np.interp(read, frames, curve) for curve in curves_FM.T], axis=1)


def table(figures: Figures) -> str:
    """Markdown."""
    lines = [
        f"{CLIPS} sentences of GRID speakers whom no training had, on strangers. r with the real mouth "
        "(position alone; another clip's sound), and the spread over the real one's.",
        "",
        "| sound | opening, r | spread | width, r | spread |",
        "|---|---|---|---|---|",
    ]
    for kind, row in figures.items():
        cells = [
            f"{f['r']:.2f} ({f['position_r']:.2f}; {f['other_sound_r']:.2f}) | {f['spread_ratio']:.2f}"
            for f in row.values()
        ]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
