"""The part "emotion": whether strangers' emotions are those that were asked for, and as strong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.portrait_life.bench import Bench, Figures, cut
from benchmarks.portrait_life.motion import SEED
from benchmarks.portrait_life.recordings import Recording, record
from openemo.evaluation.metrics.expression_reading import UPPER_FACE, ExpressionReader, displacement
from openemo.face.landmarks import LEFT_IRIS, NUM_POINTS, RIGHT_IRIS

# Names of the pipeline, and those of the pictures of ten synthetic people.
EMOTIONS = {
    "happy": "Happy",
    "sad": "Sad",
    "angry": "Angry",
    "surprised": "Surprised",
    "disgusted": "Disgusted",
    "afraid": "Scared",
    "smug": "Smug",
}
STRENGTHS = (0.5, 1.0)
PEOPLE, SECONDS = 10, 3.0
ARGUMENTS = ("emotion", "emotion_strength")
WHOLE_FACE = tuple(sorted(set(range(NUM_POINTS)) - {*LEFT_IRIS, *RIGHT_IRIS}))


def emotion(bench: Bench) -> Figures:
    """Emotions of strangers, read from the upper face alone by the nearest mean displacement of other people.

    At most ten people, 3 s of one voice each; the video without an emotion is subtracted.
    amplitude: along the asked emotion's mean displacement, 1 as strong as ten people in pictures.
    """
    voice = cut(next(iter(bench.voices().values())), SECONDS)
    faces = expressive_faces(bench.shared)
    rows = {}
    for path, picture in bench.strangers()[:PEOPLE]:
        upper, whole = (reader(faces, path.stem, points) for points in (UPPER_FACE, WHOLE_FACE))

        def made(name: str, path: Any = path, picture: Any = picture, **asked: Any) -> Recording:
            video = bench.output / "videos" / f"{path.stem}-{name}.mp4"
            make = partial(bench.pipeline, picture, voice, seed=SEED, **asked)
            return record(make, voice, video, bench.pipeline.face_analyzer)

        neutral = made("no-emotion")
        for asked in EMOTIONS:
            for strength in STRENGTHS:
                seen = made(f"{asked}-{strength:g}", emotion=asked, emotion_strength=strength)
                moved = displacement(neutral.points_px, seen.points_px)
                read = upper.read(moved)
                rows[f"{path.stem} {asked} {strength:g}"] = {
                    "asked": asked,
                    "strength": strength,
                    "read": read.emotion,
                    "likeness": read.likeness[asked],
                    "amplitude": read.amplitude[asked],
                    "amplitude_whole_face": whole.read(moved).amplitude[asked],
                }
    found = summary(rows)
    (bench.output / "emotion.md").write_text(table(found), encoding="utf-8")
    return found | {"each": rows}


def expressive_faces(shared: Path) -> dict[str, np.ndarray]:
    """Landmarks (478, 3) of ten synthetic people, by PERSON_Emotion."""
    with np.load(shared / "expressions/landmarks.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def reader(faces: Mapping[str, np.ndarray], person: str, points: tuple[int, ...]) -> ExpressionReader:
    """Of all people but this one."""
    people = sorted({name.split("_")[0] for name in faces})
    return ExpressionReader.of_people(
        {one: faces[f"{one}_Neutral"] for one in people},
        {ours: {one: faces[f"{one}_{theirs}"] for one in people} for ours, theirs in EMOTIONS.items()},
        without=person if person in people else None,
        points=points,
    )


def summary(rows: Mapping[str, Figures]) -> Figures:
    """Shares and means over people, by emotion and strength."""
    people = sorted({name.split(" ")[0] for name in rows})
    by_emotion: Figures = {}
    for asked in EMOTIONS:
        of = {
            strength: [rows[f"{person} {asked} {strength:g}"] for person in people] for strength in STRENGTHS
        }
        amplitudes = np.array([[row["amplitude"] for row in of[strength]] for strength in STRENGTHS])
        rising = np.diff(np.concatenate([np.zeros((1, len(people))), amplitudes]), axis=0) > 0
        by_emotion[asked] = {
            f"{strength:g}": {
                "right": float(np.mean([row["read"] == asked for row in of[strength]])),
                "read": {name: sum(row["read"] == name for row in of[strength]) for name in EMOTIONS},
                **{
                    key: float(np.mean([row[key] for row in of[strength]]))
                    for key in ("likeness", "amplitude", "amplitude_whole_face")
                },
            }
            for strength in STRENGTHS
        } | {"rises_with_strength": float(rising.all(axis=0).mean())}
    right = {
        f"{strength:g}": float(np.mean([of[f"{strength:g}"]["right"] for of in by_emotion.values()]))
        for strength in STRENGTHS
    }
    rises = float(np.mean([of["rises_with_strength"] for of in by_emotion.values()]))
    return {"people": len(people), "right": right, "rises_with_strength": rises, "emotions": by_emotion}


def table(found: Figures) -> str:
    """Markdown: a row for each emotion."""
    lines = [
        f"{found['people']} strangers. Right: named as asked by a reader made from other people, "
        "brows and eyes alone; by chance 0.14, goal 0.8. Amplitude: 1 as strong as ten people in pictures.",
        "",
        "| | right at 0.5 | right at 1 | amplitude at 0.5 | at 1 | whole face at 1 | rises | read as at 1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for asked, figures in found["emotions"].items():
        half, full = figures["0.5"], figures["1"]
        read = ", ".join(f"{name} {count}" for name, count in full["read"].items() if count)
        lines.append(
            f"| {asked} | {half['right']:.2f} | {full['right']:.2f} | {half['amplitude']:.2f} "
            f"| {full['amplitude']:.2f} | {full['amplitude_whole_face']:.2f} "
            f"| {figures['rises_with_strength']:.2f} | {read} |"
        )
    right = found["right"]
    lines.append(
        f"| all | {right['0.5']:.2f} | {right['1']:.2f} | | | | {found['rises_with_strength']:.2f} | |"
    )
    return "\n".join(lines) + "\n"
