"""Fits what is asked of brows and eyes in each emotion to what the landmark network reads back.

A warp of a portrait reaches a part of the displacement that it is asked for, another part at each place: an
inner brow that should rise by .024 face widths is read .004 higher, a lid hardly at all. Neighbours (afraid
and surprised, happy and smug) then have one name. Stills of portraits of the training data are made and read;
what is missing from the mean of ten synthetic people is asked for in addition, and so on.

    python benchmarks/expressions.py --shared ../shared/data -o expressions.npz

It changes the array "speaking" of `assets/expressions.npz` (see `openemo.data.mean_expressions`), brows and
eyes alone. `--rounds 0` only measures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.portrait_life.emotion import expressive_faces, reader
from openemo import EmoPipeline
from openemo.arrays import Doubles, Floats, Image
from openemo.audio import Audio
from openemo.behaviour import EMOTIONS, Behaviour, expression_shapes
from openemo.data.data_recipe import DataRecipe
from openemo.data.mean_expressions import mirrored_points, symmetric, upright
from openemo.data.prepare import split_portraits
from openemo.evaluation.metrics.expression_reading import UPPER_FACE, ExpressionReader, displacement
from openemo.files import whole_file
from openemo.settings import load_recipe
from openemo.video.images import read_image

FRAMES, FRAME = 12, 6  # of a still: one clip, its middle
SIZE_PX = 512
_STEP: Final = 0.7  # of what is missing, per round
_MOST: Final = 0.02  # face widths, per round
_CONTRAST: Final = 0.5  # how much farther an emotion goes where its nearest neighbour does not


class Stills:
    """One portrait with its mouth shut and its head still."""

    def __init__(self, pipeline: EmoPipeline, image: Image) -> None:
        self.pipeline = pipeline
        self.portrait = pipeline.prepare_portrait(image, framing="crop", size_px=SIZE_PX)
        self.speech = pipeline.encode_audio(Audio(np.zeros((1, 16000 * FRAMES // 25), np.float32), 16000))

    def read(self, strengths_E: Floats) -> Floats:
        """Landmarks (1, 478, 3), px, in a mixture of emotions."""
        pipeline = self.pipeline
        reference = pipeline.encode_reference(self.portrait)  # anew: the displacements change between rounds
        behaviour = replace(Behaviour.neutral(FRAMES), expression_FE=np.tile(strengths_E, (FRAMES, 1)))
        motion = pipeline.prepare_motion_frames(reference)
        conditions = pipeline.prepare_conditions(
            reference, self.speech, range(FRAMES), motion_frames_BCNHW=motion, behaviour=behaviour
        )
        latents = pipeline.denoise_clip(conditions, motion, generator=torch.Generator().manual_seed(0))
        latents, behaviour = latents[:, :, FRAME : FRAME + 1], behaviour.frames(FRAME, FRAME + 1)
        crops = pipeline.decode(latents, reference, behaviour)
        frame = next(pipeline.composite(crops, self.portrait))
        return pipeline.face_analyzer.find(frame).points_px[None]

    def displacements(self) -> Iterator[Doubles]:
        """(478, 2) in face widths, of each emotion."""
        neutral = self.read(np.zeros(len(EMOTIONS)))
        for strengths in np.eye(len(EMOTIONS)):
            yield displacement(neutral, self.read(strengths))


def measure(people: list[Stills], of_people: ExpressionReader) -> dict[str, Doubles]:
    """Mean displacement (478, 2) of each emotion; prints which share is named right."""
    seen = np.array([list(person.displacements()) for person in people])
    right = {
        emotion: float(np.mean([of_people.read(one).emotion == emotion for one in seen[:, index]]))
        for index, emotion in enumerate(EMOTIONS)
    }
    shares = ", ".join(f"{name} {share:.2f}" for name, share in right.items())
    sys.stdout.write(f"right {np.mean(list(right.values())):.2f}: {shares}\n")
    return dict(zip(EMOTIONS, seen.mean(0), strict=True))


def wanted(of_people: ExpressionReader, emotion: str) -> Doubles:
    """(P, 2): the mean of people, farther away from the emotion that is most like it."""
    mean = of_people.mean(emotion)
    others = [of_people.mean(other) for other in EMOTIONS if other != emotion]
    along = [np.vdot(mean, other) / np.vdot(other, other) * other for other in others]
    nearest = max(along, key=lambda part: float(np.vdot(mean, part)))
    return np.asarray(mean + _CONTRAST * (mean - nearest))


def fit(people: list[Stills], faces: dict[str, Floats], rounds: int) -> None:
    """Changes the displacements that this process has loaded."""
    of_people = reader(faces, "", UPPER_FACE)
    mirror = mirrored_points(np.mean([upright(np.asarray(face, np.float64)) for face in faces.values()], 0))
    speaking = expression_shapes._displacements().speaking
    upper = list(UPPER_FACE)
    for _ in range(rounds):
        seen = measure(people, of_people)
        for index, emotion in enumerate(EMOTIONS):
            missing: Floats = np.zeros_like(seen[emotion])
            missing[upper] = wanted(of_people, emotion) - seen[emotion][upper]
            if emotion != "smug":  # it is one sided
                missing = symmetric(missing, mirror)
            speaking[index] += _STEP * missing.clip(-_MOST, _MOST)
    measure(people, of_people)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    pipeline = EmoPipeline.from_pretrained(arguments.model)
    congress = f"portraits=[{arguments.shared / 'portraits/congress'}]"
    trained, _ = split_portraits(load_recipe(DataRecipe, Path("recipes/data.yaml"), [congress]))
    chosen = trained[:: len(trained) // arguments.people][: arguments.people]
    people = [Stills(pipeline, read_image(path)) for path in chosen]
    faces = expressive_faces(arguments.shared)
    fit(people, faces, arguments.rounds)
    if arguments.output is not None:
        known = expression_shapes._displacements()._asdict()
        with whole_file(arguments.output) as file:
            np.savez(
                file, allow_pickle=False, **{name: array.astype(np.float16) for name, array in known.items()}
            )


if __name__ == "__main__":
    main()
