"""Builds the training data from the corpora: landmarks, sequences, voices. Each step keeps what is there."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.signal import lfilter

from openemo.audio.reading import Audio, read_audio
from openemo.audio.speech import SpeechEncoder
from openemo.data.motion import median_poses
from openemo.data.recipe import DataRecipe
from openemo.data.sequences import driven_sequence, quiet_span, real_sequence
from openemo.data.tracks import decode_frames, track_clips
from openemo.data.voices import SAMPLE_RATE_HZ, vary_voice
from openemo.errors import FaceError, ImageError
from openemo.face.analyzer import FaceAnalyzer, select_face
from openemo.face.geometry import face_width_px, head_pose
from openemo.video.images import read_image

__all__ = ["prepare", "split_clips", "split_portraits"]

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
_MAX_TURN_DEG = 22.0
_REFERENCES = 10  # of the frames in the clip's median pose, one is the reference of a real clip


@dataclass(frozen=True)
class _Job:
    """One sequence to make. `portrait` None: the real clip itself."""

    name: str
    clip: str
    portrait: Path | None
    seed: int
    quiet: bool = False


def prepare(recipe: DataRecipe) -> None:
    """Runs all steps. What remains to be made after an interruption is made by the same call."""
    clips, held_out = split_clips(recipe)
    log.info("%d clips for training, %d held out", len(clips), len(held_out))
    _run(_Tracks(recipe), _chunks([*clips, *held_out], 8), recipe.workers)
    tracked = [clip for clip in clips if (recipe.tracks / f"{clip.stem}.npy").exists()]
    jobs = [job for job in _jobs(recipe, tracked) if not (recipe.sequences / f"{job.name}.npz").exists()]
    recipe.sequences.mkdir(parents=True, exist_ok=True)
    _run(_Sequences(recipe), _chunks(jobs, 8), recipe.workers)
    recipe.voices.mkdir(parents=True, exist_ok=True)
    for variant in range(recipe.voice_variants):
        _encode_voices(recipe, tracked, variant)
    _encode_quiet(recipe)


def split_clips(recipe: DataRecipe) -> tuple[list[Path], list[Path]]:
    """(training, held out) clips: a fixed shuffle, the first ones held out."""
    clips = sorted(recipe.clips.glob("*.mp4"))
    order = np.random.default_rng(recipe.split_seed).permutation(len(clips))
    shuffled = [clips[i] for i in order]
    return shuffled[recipe.held_out_clips :][: recipe.max_clips], shuffled[: recipe.held_out_clips]


def split_portraits(recipe: DataRecipe) -> tuple[list[Path], list[Path]]:
    """(training, held out) portraits, split as the clips are."""
    pictures = sorted(path for folder in recipe.portraits for path in folder.glob("*.jpg"))
    order = np.random.default_rng(recipe.split_seed).permutation(len(pictures))
    shuffled = [pictures[i] for i in order]
    return shuffled[recipe.held_out_portraits :], shuffled[: recipe.held_out_portraits]


def _jobs(recipe: DataRecipe, clips: list[Path]) -> Iterator[_Job]:
    portraits, _ = split_portraits(recipe)
    for index, portrait in enumerate(portraits):
        clip = clips[index % len(clips)].stem
        yield _Job(f"driven-{portrait.stem}", clip, portrait, index)
        if index % recipe.quiet_every == 0:
            yield _Job(f"quiet-{portrait.stem}", clip, portrait, index, quiet=True)
    for index, path in enumerate(clips[: recipe.real_sequences]):
        yield _Job(f"real-{path.stem}", path.stem, None, index)


@dataclass(frozen=True)
class _Tracks:
    recipe: DataRecipe

    def __call__(self, clips: list[Path]) -> int:
        analyzer = FaceAnalyzer.from_pretrained(self.recipe.face_weights)
        return len(track_clips(clips, analyzer, self.recipe.tracks))


@dataclass(frozen=True)
class _Sequences:
    recipe: DataRecipe

    def __call__(self, jobs: list[_Job]) -> int:
        analyzer = FaceAnalyzer.from_pretrained(self.recipe.face_weights)
        return sum(self._make(job, analyzer) for job in jobs)

    def _make(self, job: _Job, analyzer: FaceAnalyzer) -> bool:
        recipe, rng = self.recipe, np.random.default_rng((self.recipe.split_seed, job.seed))
        track = np.load(recipe.tracks / f"{job.clip}.npy")
        frames = decode_frames(recipe.clips / f"{job.clip}.mp4")
        if job.portrait is None:
            reference = int(rng.choice(median_poses(track, _REFERENCES)))
            sequence = real_sequence(
                job.clip, frames, track, reference, size_px=recipe.size_px, crop_scale=recipe.crop_scale
            )
        else:
            try:
                picture = read_image(job.portrait)
                face = select_face(analyzer.find_all(picture), None, (picture.shape[1], picture.shape[0]))
            except (FaceError, ImageError) as error:
                log.info("left out %s: %s", job.portrait.name, error)
                return False
            pose = head_pose(face.points_px)
            turn = max(abs(pose.yaw_deg), abs(pose.roll_deg))
            if turn > _MAX_TURN_DEG or face_width_px(face.points_px) < recipe.min_face_px:
                return False
            length = recipe.quiet_frames if job.quiet else min(recipe.driven_frames, len(frames))
            start = quiet_span(track, length) if job.quiet else int(rng.integers(len(frames) - length + 1))
            sequence = driven_sequence(
                picture,
                face,
                job.clip,
                frames,
                track,
                range(start, start + length),
                size_px=recipe.size_px,
                crop_scale=recipe.crop_scale,
                head_strength=recipe.head_strength,
                quiet=job.quiet,
            )
        sequence.save(recipe.sequences / f"{job.name}.npz")
        return True


def _encode_voices(recipe: DataRecipe, clips: list[Path], variant: int) -> None:
    """Speech features of every clip in one variant of the voice: voices/NAME.VARIANT.npy, (T, D) float16.

    Variant 0 is the clip's own sound alone; the others are varied, and heard in a row of three as in a longer
    recording, because a token depends on its place in the encoder's window.
    """
    todo = [clip for clip in clips if not (recipe.voices / f"{clip.stem}.{variant}.npy").exists()]
    encoder = SpeechEncoder.from_pretrained(recipe.speech_weights)
    row = 3 if variant else 1
    for start in range(0, len(todo), row):
        group = todo[start : start + row]
        samples = [read_audio(clip).mono().resample(SAMPLE_RATE_HZ).samples[0] for clip in group]
        if variant:
            rng = np.random.default_rng((recipe.split_seed, variant, start))
            samples = [vary_voice(sound, rng) for sound in samples]
        # Whole tokens, so that each clip's features start where its sound starts.
        step = SAMPLE_RATE_HZ // encoder.rate_hz
        samples = [np.pad(sound, (0, -len(sound) % step)) for sound in samples]
        values = encoder(Audio(np.concatenate(samples)[None], SAMPLE_RATE_HZ)).values
        lengths = [len(sound) // step for sound in samples]
        parts = values.split(lengths)  # type: ignore[no-untyped-call]
        for clip, part in zip(group, parts, strict=True):
            np.save(recipe.voices / f"{clip.stem}.{variant}.npy", part.numpy().astype(np.float16))
    log.info("voices, variant %d: %d clips", variant, len(todo))


def _encode_quiet(recipe: DataRecipe) -> None:
    """Speech features of sound without a voice: digital silence and noises, voices/quiet.K.npy."""
    encoder = SpeechEncoder.from_pretrained(recipe.speech_weights)
    rng = np.random.default_rng(recipe.split_seed)
    for index, level_dbfs in enumerate((-np.inf, -80.0, -65.0, -50.0, -35.0)):
        noise = lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(4 * SAMPLE_RATE_HZ))
        sound = noise / np.sqrt((noise**2).mean()) * 10 ** (level_dbfs / 20)
        values = encoder(Audio(sound[None].astype(np.float32), SAMPLE_RATE_HZ)).values
        np.save(recipe.voices / f"quiet.{index}.npy", values.numpy().astype(np.float16))


def _chunks(items: list[Item], size: int) -> list[list[Item]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _run(function: Callable[[list[Item]], int], batches: Iterable[list[Item]], workers: int) -> None:
    """Batches over processes; an error in one stops the step."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for done, count in enumerate(pool.map(function, batches), 1):
            log.info("%s: batch %d, %d made", type(function).__name__.strip("_"), done, count)
