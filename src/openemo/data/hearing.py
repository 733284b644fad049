"""What training hears: speech features of every clip in several voices, and of sound without a voice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from openemo.audio import Audio, SpeechEncoder, Wav2VecEncoder, read_audio
from openemo.data.recipe import DataRecipe
from openemo.data.voices import SAMPLE_RATE_HZ, vary_voice
from openemo.timing import parse_fps

__all__ = ["encode_voices"]

log = logging.getLogger(__name__)
Samples = NDArray[np.float32]
Ear = Callable[[list[Samples]], list[NDArray[np.float32]]]
_FPS = parse_fps(25)
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
        row, made = (3 if variant else 1), 0
        # Whole rows of all clips, so that what an interruption left out becomes what it would have been.
        for start in range(0, len(clips), row):
            group = clips[start : start + row]
            targets = [recipe.voices / f"{clip.stem}.{variant}.npy" for clip in group]
            if all(target.exists() for target in targets):
                continue
            sounds = [read_audio(clip).mono().resample(SAMPLE_RATE_HZ).samples[0] for clip in group]
            if variant:
                rng = np.random.default_rng((recipe.split_seed, variant, start))
                sounds = [vary_voice(sound, rng) for sound in sounds]
            for target, heard in zip(targets, hear(sounds), strict=True):
                np.save(target, heard.astype(np.float16))
            made += len(targets)
        log.info("voices, variant %d: %d clips", variant, made)
    rng = np.random.default_rng(recipe.split_seed)
    for index, level_dbfs in enumerate(_QUIET_DBFS):
        noise = lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(4 * SAMPLE_RATE_HZ))
        sound = noise / np.sqrt((noise**2).mean()) * 10 ** (level_dbfs / 20)
        (heard,) = hear([sound.astype(np.float32)])
        np.save(recipe.voices / f"quiet.{index}.npy", heard.astype(np.float16))


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
