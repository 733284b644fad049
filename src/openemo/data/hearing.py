"""What training hears: speech features of every clip in several voices, of clips sung, and of no voice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from openemo.audio import Audio, SpeechEncoder, Wav2VecEncoder, read_audio
from openemo.data.recipe import DataRecipe
from openemo.data.singing import STEP_S, accompany, sing
from openemo.data.songs import Song
from openemo.data.voices import SAMPLE_RATE_HZ, vary_voice
from openemo.files import whole_file
from openemo.timing import parse_fps

__all__ = ["encode_songs", "encode_voices"]

log = logging.getLogger(__name__)
Samples = NDArray[np.float32]
Ear = Callable[[list[Samples]], list[NDArray[np.float32]]]
_FPS = parse_fps(25)
_ROW = 3
_SUNG = 1000  # apart from the numbers of spoken variants, which seed theirs
_MUSIC_BELOW_DB = (0.0, 20.0)
_QUIET_DBFS = (-np.inf, -80.0, -65.0, -50.0, -35.0)


def encode_voices(recipe: DataRecipe, clips: list[Path]) -> None:
    """Writes NAME.VARIANT.npy, (T, D) float16, where missing, and quiet.K.npy into `recipe.voices`.

    T counts tokens at 50 Hz of Whisper, frames at 25 fps of wav2vec 2.0. Variant 0 is the clip's own sound
    alone; the others are varied, and Whisper hears them in a row of three as in a longer recording, because a
    token depends on its place in the encoder's window.
    """
    recipe.voices.mkdir(parents=True, exist_ok=True)
    hear = _ear(recipe)
    for variant in range(recipe.voice_variants):
        made = 0
        row = _ROW if variant else 1
        for start, group, targets in _rows(clips, row, recipe.voices, f"{variant}.npy"):
            sounds = [_spoken(clip) for clip in group]
            if variant:
                rng = np.random.default_rng((recipe.split_seed, variant, start))
                sounds = [vary_voice(sound, rng) for sound in sounds]
            for target, heard in zip(targets, hear(sounds), strict=True):
                with whole_file(target) as file:
                    np.save(file, heard.astype(np.float16))
            made += len(targets)
        log.info("voices, variant %d: %d clips", variant, made)
    rng = np.random.default_rng(recipe.split_seed)
    for index, level_dbfs in enumerate(_QUIET_DBFS):
        noise = lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(4 * SAMPLE_RATE_HZ))
        sound = noise / np.sqrt((noise**2).mean()) * 10 ** (level_dbfs / 20)
        (heard,) = hear([sound.astype(np.float32)])
        with whole_file(recipe.voices / f"quiet.{index}.npy") as file:
            np.save(file, heard.astype(np.float16))


def encode_songs(recipe: DataRecipe, clips: list[Path]) -> None:
    """Writes NAME.VARIANT.npz, a `Song`, of each clip where missing into `recipe.songs`.

    Every other one is sung to music. Heard in a row of three, see `encode_voices`.
    """
    recipe.songs.mkdir(parents=True, exist_ok=True)
    hear = _ear(recipe)
    for variant in range(recipe.sung_variants):
        made = 0
        for start, group, targets in _rows(clips, _ROW, recipe.songs, f"{variant}.npz"):
            rng = np.random.default_rng((recipe.split_seed, _SUNG, variant, start))
            sung = [sing(_spoken(clip), rng) for clip in group]
            sounds = [
                accompany(song, rng, below_db=rng.uniform(*_MUSIC_BELOW_DB)) if rng.random() < 0.5 else song
                for song, _ in sung
            ]
            for target, heard, (_, source_s) in zip(targets, hear(sounds), sung, strict=True):
                Song(heard.astype(np.float16), _frames(source_s)).save(target)
            made += len(targets)
        log.info("songs, variant %d: %d clips", variant, made)


def _rows(
    clips: list[Path], length: int, folder: Path, ending: str
) -> Iterator[tuple[int, list[Path], list[Path]]]:
    """Index of the first, clips, and files to write, of each row that lacks a file.

    Whole rows of all clips, so that what an interruption left out becomes what it would have been.
    """
    for start in range(0, len(clips), length):
        group = clips[start : start + length]
        targets = [folder / f"{clip.stem}.{ending}" for clip in group]
        if not all(target.exists() for target in targets):
            yield start, group, targets


def _frames(source_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,) frames of the clip, from the seconds of it that `sing` gives: both by their middles."""
    middles_s = (np.arange(int(len(source_s) * STEP_S * _FPS)) + 0.5) / float(_FPS)
    heard_s = np.interp(middles_s, STEP_S * np.arange(len(source_s)), source_s)
    return np.asarray(heard_s * float(_FPS) - 0.5)


def _spoken(clip: Path) -> Samples:
    """(N,) at 16 kHz."""
    return np.asarray(read_audio(clip).mono().resample(SAMPLE_RATE_HZ).samples[0])


def _ear(recipe: DataRecipe) -> Ear:
    options: dict[str, Any] = {} if recipe.speech_layers is None else {"layers": recipe.speech_layers}
    if recipe.speech == "wav2vec2":
        return partial(_each_alone, Wav2VecEncoder.from_pretrained(recipe.speech_weights, **options))
    return partial(_in_a_row, SpeechEncoder.from_pretrained(recipe.speech_weights, **options))


def _in_a_row(encoder: SpeechEncoder, sounds: list[Samples]) -> list[NDArray[np.float32]]:
    # Whole tokens, so that each clip's features start where its sound starts.
    step = SAMPLE_RATE_HZ // encoder.rate_hz
    padded = [np.pad(sound, (0, -len(sound) % step)) for sound in sounds]
    values = encoder(Audio(np.concatenate(padded)[None], SAMPLE_RATE_HZ)).values
    ends = np.cumsum([len(sound) // step for sound in padded])
    return np.split(values.numpy(), ends[:-1])


def _each_alone(encoder: Wav2VecEncoder, sounds: list[Samples]) -> list[NDArray[np.float32]]:
    return [
        encoder.hear(Audio(sound[None], SAMPLE_RATE_HZ), fps=_FPS, clip_frames=1).values.numpy()
        for sound in sounds
    ]
