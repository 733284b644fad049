"""Portraits that speak: sequences without pictures of their frames, from sentences that are said once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from openemo.data.data_recipe import DataRecipe
from openemo.data.mouth_shapes import SpeakerStyle
from openemo.data.sequences import FrameSequence, sequence_paths
from openemo.data.speech_synthesis import Phone, Utterance
from openemo.data.spoken import load_utterance, save_utterance, speak_sentences, spoken_sequence
from openemo.errors import TrainingError
from openemo.face.analyzer import Face
from openemo.face.landmarks import mouth_opening

RATE_HZ, SIZE = 16_000, 64
SENTENCES = {"es": ["Uno."], "fr": ["Deux.", "Trois."]}


@pytest.fixture
def utterance() -> Utterance:
    """A pause, "ma", and a pause."""
    edges = (0.0, 0.3, 0.4, 0.7, 1.0)
    phones = tuple(map(Phone, ("", "m", "a", ""), edges[:-1], edges[1:]))
    samples = 0.1 * np.random.default_rng(2).standard_normal(RATE_HZ)
    samples[: round(0.3 * RATE_HZ)] = samples[round(0.7 * RATE_HZ) :] = 0
    return Utterance(samples.astype(np.float32), phones)


def _recipe(folder: Path, **changes: object) -> DataRecipe:
    settings = {
        "clips": folder,
        "portraits": [folder],
        "face_weights": folder,
        "speech_weights": folder,
        "output": folder / "data",
        "spoken_sequences": 2,
        "spoken_utterances": 3,
        "sentences": SENTENCES,
        "shapes": folder / "basis.npz",
    }
    return DataRecipe.model_validate(settings | changes)


def test_saved_and_loaded_utterances_are_equal(tmp_path: Path, utterance: Utterance) -> None:
    path = tmp_path / "es-000.wav"
    save_utterance(utterance, path)
    assert {file.name for file in tmp_path.iterdir()} == {"es-000.wav", "es-000.npz"}
    loaded = load_utterance(path)
    assert loaded.phones == utterance.phones
    np.testing.assert_allclose(loaded.samples, utterance.samples, atol=1e-4)  # 16 bits
    path.with_suffix(".npz").write_bytes(b"nothing")
    with pytest.raises(TrainingError):
        load_utterance(path)


def test_what_was_said_is_not_said_again(tmp_path: Path, utterance: Utterance) -> None:
    """Without the voices installed, too."""
    recipe = _recipe(tmp_path, nonsense_utterances=2)
    recipe.utterances.mkdir(parents=True)
    names = ["es-000", "fr-000", "es-001", "nonsense-0000", "nonsense-0001"]
    for name in names:
        save_utterance(utterance, recipe.utterances / f"{name}.wav")
    assert [path.stem for path in speak_sentences(recipe)] == names


@pytest.mark.parametrize("changes", [{"shapes": None}, {"sentences": {}}, {"sentences": {"es": []}}])
def test_a_recipe_that_lacks_a_part_is_an_error(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="spoken_sequences"):
        _recipe(tmp_path, **changes)
    assert _recipe(tmp_path, **changes, spoken_sequences=0).spoken_sequences == 0


def test_a_portrait_says_ma(
    tmp_path: Path,
    utterance: Utterance,
    neutral_face: NDArray[np.float64],
    shapes: dict[str, NDArray[np.float64]],
) -> None:
    points = neutral_face.astype(np.float32)
    face = Face(np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]), points, 1.0)
    picture = np.full((512, 512, 3), 90, np.uint8)
    sequence = spoken_sequence(
        picture, face, "es-000", utterance, shapes, SpeakerStyle(), size_px=SIZE, crop_scale=1.6
    )
    path = tmp_path / "spoken-p.npz"
    sequence.save(path)
    loaded = FrameSequence.load(path)
    assert (loaded.num_frames, loaded.clip, loaded.first_frame, loaded.size_px) == (25, "es-000", 0, SIZE)
    assert loaded.picture(0).shape == (SIZE, SIZE, 3)
    with pytest.raises(TrainingError, match="picture 3"):
        loaded.picture(3)
    openings = np.array([mouth_opening(frame) for frame in loaded.points_px[1:]])
    times_s = (np.arange(25) + 0.5) / 25
    assert openings[(times_s > 0.31) & (times_s < 0.39)].min() < 0.004
    assert times_s[openings.argmax()] == pytest.approx(0.55, abs=0.06)
    assert openings[times_s > 0.9].max() < 0.012
    assert not loaded.speed_rad_s.any()

    # Stages that need pictures do not see it.
    (tmp_path / "driven-p.npz").touch()
    assert [p.name for p in sequence_paths(tmp_path, with_pictures=True)] == ["driven-p.npz"]
    assert len(sequence_paths(tmp_path, with_pictures=False)) == 2
