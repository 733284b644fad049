"""Expressions of ten people, each read by the other nine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.errors import FaceError
from openemo.evaluation.metrics.expression_reading import ExpressionReader, displacement
from openemo.face.landmarks import BROWS, face_width_px
from tests.evaluation.turned_landmarks import turned

Points = NDArray[np.float32]
EMOTIONS = ("Happy", "Sad", "Angry", "Surprised", "Disgusted", "Scared", "Smug")


@pytest.fixture(scope="module")
def faces(shared_dir: Path) -> dict[str, Points]:
    with np.load(shared_dir / "data/expressions/landmarks.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(scope="module")
def people(faces: dict[str, Points]) -> list[str]:
    return sorted({name.split("_")[0] for name in faces})


def reader(faces: dict[str, Points], people: list[str], without: str | None = None) -> ExpressionReader:
    return ExpressionReader.of_people(
        {person: faces[f"{person}_Neutral"] for person in people},
        {emotion: {person: faces[f"{person}_{emotion}"] for person in people} for emotion in EMOTIONS},
        without=without,
    )


def test_most_expressions_of_a_person_are_read_by_those_of_others(
    faces: dict[str, Points], people: list[str]
) -> None:
    """From brows and eyes alone 56 of 70; by chance there would be 10."""
    right = 0
    for person in people:
        others = reader(faces, people, without=person)
        neutral = faces[f"{person}_Neutral"][None]
        for emotion in EMOTIONS:
            right += others.read(displacement(neutral, faces[f"{person}_{emotion}"][None])).emotion == emotion
    assert right == pytest.approx(56, abs=2)


def test_amplitude_follows_strength_and_the_head_may_turn(
    faces: dict[str, Points], people: list[str]
) -> None:
    """A stranger's face with half the mean expression, while the head turns and one frame blinks."""
    everybody = reader(faces, people)
    neutral = faces[f"{people[0]}_Neutral"]
    means = {
        emotion: np.mean(
            [
                displacement(faces[f"{person}_Neutral"][None], faces[f"{person}_{emotion}"][None])
                for person in people
            ],
            axis=0,
        )
        for emotion in EMOTIONS
    }
    still = np.repeat(neutral[None], 12, axis=0)
    for emotion, mean in means.items():
        amplitudes = []
        for strength in (0.25, 0.5, 1.0):
            moved = still.copy()
            moved[:, :, :2] += strength * mean * face_width_px(neutral)
            for upper, lower in ((159, 145), (386, 374)):
                moved[4, upper] = moved[4, lower]
            angles = np.outer(np.arange(12) - 6.0, [0.5, 0.5, 1])
            read = everybody.read(displacement(still, turned(moved, angles)))
            assert read.emotion == emotion
            assert read.likeness[emotion] > 0.85
            amplitudes.append(read.amplitude[emotion])
        # Expressions move some stable points, and the fit takes that part for the head.
        np.testing.assert_allclose(amplitudes, [0.25, 0.5, 1.0], rtol=0.25)


def test_displacement_is_in_face_widths_and_upright(faces: dict[str, Points], people: list[str]) -> None:
    neutral = faces[f"{people[3]}_Neutral"][None]
    raised = neutral.copy()
    raised[0, list(BROWS), 1] -= 0.03 * face_width_px(neutral[0])
    lean = np.array([[0, 0, 25.0]])
    moved = displacement(turned(neutral, lean), 2 * turned(raised, lean))
    np.testing.assert_allclose(moved[list(BROWS)], np.tile([0, -0.03], (len(BROWS), 1)), atol=0.003)
    others = np.delete(np.arange(468), BROWS)
    assert np.abs(moved[others]).max() < 1e-3


def test_no_face_is_an_error(faces: dict[str, Points], people: list[str]) -> None:
    neutral = faces[f"{people[0]}_Neutral"][None]
    with pytest.raises(FaceError, match="no face in the video"):
        displacement(neutral, np.full_like(neutral, np.nan))
