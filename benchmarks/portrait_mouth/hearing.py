"""The part "hearing": how well lips follow voices in rooms, through codecs, under music, whispered."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from benchmarks.portrait_life.bench import RATE_HZ, Bench, Figures
from benchmarks.portrait_life.motion import real_clips
from benchmarks.portrait_mouth.flow_reading import meant_shapes
from benchmarks.portrait_mouth.sound_kinds import KINDS, PACES
from openemo.arrays import Doubles
from openemo.audio.audio_reader import Audio
from openemo.evaluation.metrics.chance_correlation import correlate_beside_chance
from openemo.evaluation.metrics.frame_statistics import spread
from openemo.evaluation.metrics.viseme_shapes import MEASURES, mouth_measures
from openemo.training.mouth_shape_loss import MOUTH_MEASURES

# Of what the flow says and of the real mouth. Lips meet in the drawing, not in the flow, so how far the mouth
# is open is read from how high the lips are.
PAIRS = {"opening": ("height", "opening"), "width": ("width", "width")}


def hearing(bench: Bench) -> Figures:
    """Opening and width against the real mouth, GRID speakers' sentences, a row for each kind of sound.

    On strangers whose mouth is shut in the photo, in turns, read from the flow before it is drawn. A faster
    or slower voice has a mouth that is faster or slower. Beside it the position in the clip alone, and what
    was made with another clip's sound.
    """
    clips = {key[0]: one for key, one in real_clips(bench)["GRID others"].items()}
    people, figures = bench.strangers_by_rest[0], {}
    for kind, change in KINDS.items():
        made, real = [], []
        for number, (name, clip) in enumerate(clips.items()):
            voice = Audio(change(clip.audio.mono().resample(RATE_HZ).samples[0])[None], RATE_HZ)
            label = f"{name}-{kind.replace(' ', '_')}"
            made.append(meant_shapes(bench, people[number % len(people)], label, voice))
            real.append(at_pace(mouth_measures(clip.points_px), PACES.get(kind, 1.0)))
        figures[kind] = {"spread": spread_of(made)} | {
            name: asdict(
                correlate_beside_chance(
                    [each[:, MOUTH_MEASURES.index(meant)] for each in made],
                    [each[:, MEASURES.index(seen)] for each in real],
                )
            )
            for name, (meant, seen) in PAIRS.items()
        }
    (bench.output / "hearing.md").write_text(table(figures), encoding="utf-8")
    return figures


def spread_of(made: list[Doubles]) -> Figures:
    """Mean standard deviation, in the measure's own spread in speech."""
    return {
        name: float(np.mean([spread(each[:, MOUTH_MEASURES.index(meant)]) for each in made]))
        for name, (meant, _) in PAIRS.items()
    }


def at_pace(curves_FM: Doubles, pace: float) -> Doubles:
    """The same mouth, faster by `pace`."""
    frames = np.arange(len(curves_FM))
    read = np.arange(0.5, len(curves_FM) / pace) * pace - 0.5
    return np.stack([np.interp(read, frames, curve) for curve in curves_FM.T], axis=1)


def table(figures: Figures) -> str:
    """Markdown."""
    lines = [
        "Sentences of GRID speakers whom no training had, on strangers, from the flow. r with the real mouth "
        "(position alone; another clip's sound), and the spread over that of the sound as it was recorded.",
        "",
        "| sound | opening, r | spread | width, r | spread |",
        "|---|---|---|---|---|",
    ]
    usual = next(iter(figures.values()))["spread"]
    for kind, row in figures.items():
        cells = [
            f"{row[name]['r']:.2f} ({row[name]['position_r']:.2f}; {row[name]['other_sound_r']:.2f}) "
            f"| {row['spread'][name] / usual[name]:.2f}"
            for name in PAIRS
        ]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
