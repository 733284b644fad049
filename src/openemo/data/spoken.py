"""Portraits that speak with synthetic voices: training data in languages of which there are no films.

An utterance is NAME.wav and NAME.npz, its phones. A sequence has no pictures but its reference.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from scipy.io import wavfile

from openemo.array_files import ArrayKind, read_arrays
from openemo.arrays import Doubles, Image
from openemo.audio import read_audio
from openemo.data.data_recipe import DataRecipe
from openemo.data.mouth_shapes import SpeakerStyle, speaking_points
from openemo.data.nonsense_words import nonsense_sentence
from openemo.data.sequences import FrameSequence, still_sequence
from openemo.data.speech_synthesis import IPA, Phone, Utterance, load_synthesizer
from openemo.data.visemes import articulate, loudness_gains
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ
from openemo.face.analyzer import Face
from openemo.files import whole_file
from openemo.timing import parse_fps

__all__ = ["load_utterance", "save_utterance", "speak_sentences", "spoken_sequence"]

log = logging.getLogger(__name__)
_FPS: Final = float(parse_fps(25))
_MIXED: Final = (0.0, 0.0, 0.35, 0.5)  # share of a second voice; half of the speakers are one voice
_PACES: Final = (0.85, 1.3)
_NONSENSE: Final = 3000  # seeds apart from those of other parts
_KINDS: Final = {"symbols": ArrayKind(np.str_, (None,)), "edges_s": ArrayKind(np.float64, (None,))}


def speak_sentences(recipe: DataRecipe) -> list[Path]:
    """The sound files of all utterances; makes those that are missing.

    One sentence of each language in turn, then those without meaning. Each has a speaker and a pace of its
    own.
    """
    recipe.utterances.mkdir(parents=True, exist_ok=True)
    planned = [
        (recipe.utterances / f"{language}-{turn:03d}.wav", language, sentences[turn % len(sentences)])
        for turn in range(-(-recipe.spoken_utterances // max(len(recipe.sentences), 1)))
        for language, sentences in recipe.sentences.items()
    ][: recipe.spoken_utterances]
    planned += [
        (recipe.utterances / f"nonsense-{turn:04d}.wav", IPA, _nonsense(recipe, turn))
        for turn in range(recipe.nonsense_utterances)
    ]
    missing = [(index, *plan) for index, plan in enumerate(planned) if not plan[0].exists()]
    synthesizer = load_synthesizer() if missing else None
    for index, path, language, sentence in missing:
        assert synthesizer is not None
        rng = np.random.default_rng((recipe.split_seed, index))
        first, second = (synthesizer.voices[i] for i in rng.permutation(len(synthesizer.voices))[:2])
        share = float(rng.choice(_MIXED))
        pace = float(np.exp(rng.uniform(*np.log(_PACES))))
        save_utterance(synthesizer(sentence, language, {first: 1 - share, second: share}, pace), path)
        log.info("spoken: %s", path.stem)
    return [path for path, *_ in planned]


def _nonsense(recipe: DataRecipe, turn: int) -> str:
    return nonsense_sentence(np.random.default_rng((recipe.split_seed, _NONSENSE, turn)))


def save_utterance(utterance: Utterance, path: Path) -> None:
    """Writes `path`, a .wav, after the phones beside it: an utterance with sound is whole."""
    phones = utterance.phones
    with whole_file(path.with_suffix(".npz")) as file:
        np.savez(
            file,
            symbols=np.array([phone.symbol for phone in phones]),
            edges_s=np.array([*(phone.start_s for phone in phones), phones[-1].end_s], np.float64),
        )
    loudest = max(float(np.abs(utterance.samples).max()), 1.0)
    with whole_file(path) as file:
        wavfile.write(file, SAMPLE_RATE_HZ, np.round(utterance.samples / loudest * 32767).astype(np.int16))


def load_utterance(path: Path) -> Utterance:
    """Raises TrainingError or AudioError if a file is damaged."""
    arrays = read_arrays(path.with_suffix(".npz"), _KINDS)
    edges_s = arrays["edges_s"].tolist()
    phones = map(Phone, arrays["symbols"].tolist(), edges_s[:-1], edges_s[1:])
    samples = read_audio(path).mono().resample(SAMPLE_RATE_HZ).samples[0]
    return Utterance(np.asarray(samples), tuple(phones))


def spoken_sequence(
    picture: Image,
    face: Face,
    clip: str,
    utterance: Utterance,
    shapes: Mapping[str, Doubles],
    style: SpeakerStyle,
    *,
    size_px: int,
    crop_scale: float,
) -> FrameSequence:
    """A portrait that says an utterance, its head still.

    Args:
        picture, face: the portrait at rest. clip: name of the utterance.
    """
    times_s: Doubles = (np.arange(int(utterance.duration_s * _FPS), dtype=np.float64) + 0.5) / _FPS
    phones = utterance.phones
    articulation = articulate(phones, loudness_gains(phones, utterance.samples), times_s)
    moved = speaking_points(face.points_px, articulation, shapes, style)
    return still_sequence(picture, face, clip, moved, size_px=size_px, crop_scale=crop_scale)
