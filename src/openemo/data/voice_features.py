"""Speech features for training: every clip in several voices, sung clips, and audio without a voice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from openemo.arrays import Samples
from openemo.audio import Audio, WhisperEncoder, read_audio
from openemo.data.data_recipe import DataRecipe
from openemo.data.singing import STEP_S, accompany, sing
from openemo.data.songs import Song
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ, vary_voice
from openemo.files import whole_file
from openemo.timing import parse_fps

if TYPE_CHECKING:
    from openemo.audio import Wav2VecEncoder

__all__ = ["encode_songs", "encode_voices"]

log = logging.getLogger(__name__)
Encode = Callable[[list[Samples]], list[NDArray[np.float32]]]
_FPS = parse_fps(25)
_ROW = 3
_SUNG = 1000  # seeds apart from those of spoken variants
_MUSIC_BELOW_DB = (0.0, 20.0)
_QUIET_DBFS = (-np.inf, -80.0, -65.0, -50.0, -35.0)


def encode_voices(recipe: DataRecipe, clips: list[Path]) -> None:
    """Writes NAME.VARIANT.npy, (T, D) float16, where missing, and quiet.K.npy into `recipe.voices`.

    T counts tokens at 50 Hz of Whisper, frames at 25 fps of wav2vec 2.0. Variant 0 is the clip's own audio,
    encoded alone. The others are varied, and Whisper encodes three clips in a row as one recording, because a
    token depends on its position in the encoder's window.
    """
    recipe.voices.mkdir(parents=True, exist_ok=True)
    encode = _load_encoder(recipe)
    for variant in range(recipe.voice_variants):
        made = 0
        row = _ROW if variant else 1
        for start, group, targets in _rows(clips, row, recipe.voices, f"{variant}.npy"):
            sounds = [_spoken(clip) for clip in group]
            if variant:
                rng = np.random.default_rng((recipe.split_seed, variant, start))
                sounds = [vary_voice(sound, rng) for sound in sounds]
            for target, features in zip(targets, encode(sounds), strict=True):
                with whole_file(target) as file:
                    np.save(file, features.astype(np.float16))
            made += len(targets)
        log.info("voices, variant %d: %d clips", variant, made)
    rng = np.random.default_rng(recipe.split_seed)
    for index, level_dbfs in enumerate(_QUIET_DBFS):
        noise = lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(4 * SAMPLE_RATE_HZ))
        sound = noise / np.sqrt((noise**2).mean()) * 10 ** (level_dbfs / 20)
        (features,) = encode([sound.astype(np.float32)])
        with whole_file(recipe.voices / f"quiet.{index}.npy") as file:
            np.save(file, features.astype(np.float16))


def encode_songs(recipe: DataRecipe, clips: list[Path]) -> None:
    """Writes NAME.VARIANT.npz, a `Song` of each clip, where missing into `recipe.songs`.

    Half of them have music. Three are encoded in a row, see `encode_voices`.
    """
    recipe.songs.mkdir(parents=True, exist_ok=True)
    encode = _load_encoder(recipe)
    for variant in range(recipe.sung_variants):
        made = 0
        for start, group, targets in _rows(clips, _ROW, recipe.songs, f"{variant}.npz"):
            rng = np.random.default_rng((recipe.split_seed, _SUNG, variant, start))
            sung = [sing(_spoken(clip), rng) for clip in group]
            sounds = [
                accompany(song, rng, below_db=rng.uniform(*_MUSIC_BELOW_DB)) if rng.random() < 0.5 else song
                for song, _ in sung
            ]
            for target, features, (_, source_s) in zip(targets, encode(sounds), sung, strict=True):
                Song(features.astype(np.float16), _frames(source_s)).save(target)
            made += len(targets)
        log.info("songs, variant %d: %d clips", variant, made)


def _rows(
    clips: list[Path], length: int, folder: Path, ending: str
) -> Iterator[tuple[int, list[Path], list[Path]]]:
    """Index of the first clip, clips, and files to write, of each row with a missing file.

    Rows are of all clips, so a file that an interruption left out is made with the same neighbours.
    """
    for start in range(0, len(clips), length):
        group = clips[start : start + length]
        targets = [folder / f"{clip.stem}.{ending}" for clip in group]
        if not all(target.exists() for target in targets):
            yield start, group, targets


def _frames(source_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,) frames of the clip, from the times in it that `sing` returns; both at the middles of frames."""
    middles_s = (np.arange(int(len(source_s) * STEP_S * _FPS)) + 0.5) / float(_FPS)
    source_middles_s = np.interp(middles_s, STEP_S * np.arange(len(source_s)), source_s)
    return np.asarray(source_middles_s * float(_FPS) - 0.5)


def _spoken(clip: Path) -> Samples:
    """(N,) at 16 kHz."""
    return np.asarray(read_audio(clip).mono().resample(SAMPLE_RATE_HZ).samples[0])


def _load_encoder(recipe: DataRecipe) -> Encode:
    options: dict[str, Any] = {} if recipe.speech_layers is None else {"layers": recipe.speech_layers}
    if recipe.speech == "wav2vec2":
        from openemo.audio import Wav2VecEncoder  # imports transformers

        return partial(_encode_alone, Wav2VecEncoder.from_pretrained(recipe.speech_weights, **options))
    return partial(_encode_in_a_row, WhisperEncoder.from_pretrained(recipe.speech_weights, **options))


def _encode_in_a_row(encoder: WhisperEncoder, sounds: list[Samples]) -> list[NDArray[np.float32]]:
    # Whole tokens, so that each clip's features start where its sound starts.
    step = SAMPLE_RATE_HZ // encoder.rate_hz
    padded = [np.pad(sound, (0, -len(sound) % step)) for sound in sounds]
    values = encoder(Audio(np.concatenate(padded)[None], SAMPLE_RATE_HZ)).values
    ends = np.cumsum([len(sound) // step for sound in padded])
    return np.split(values.numpy(), ends[:-1])


def _encode_alone(encoder: Wav2VecEncoder, sounds: list[Samples]) -> list[NDArray[np.float32]]:
    return [
        encoder.encode(Audio(sound[None], SAMPLE_RATE_HZ), fps=_FPS, clip_frames=1).values.numpy()
        for sound in sounds
    ]
