"""Makes the training data from the corpora: landmarks, sequences, teeth, voices, songs, synthetic voices.

Each step makes only the files that are missing.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Doubles, Image
from openemo.data.data_recipe import DataRecipe
from openemo.data.landmark_tracks import decode_frames, load_track, track_clips
from openemo.data.mouth_shapes import SpeakerStyle, load_shapes
from openemo.data.retargeting import median_poses
from openemo.data.sequences import driven_sequence, quiet_span, real_sequence
from openemo.data.singing import load_vocoder
from openemo.data.spoken import load_utterance, speak_sentences, spoken_sequence
from openemo.data.teeth import mean_teeth
from openemo.data.voice_features import encode_songs, encode_voices
from openemo.errors import FaceError, ImageError
from openemo.face.analyzer import Face, FaceAnalyzer, select_face
from openemo.face.landmarks import face_width_px, head_pose
from openemo.files import whole_file
from openemo.pipeline.rest_pose import find_rest_pose
from openemo.video.images import read_image

__all__ = ["draw_teeth", "make_spoken", "prepare", "split_clips", "split_portraits"]

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
_MAX_TURN_DEG = 22.0
_MIN_FACE_PX = 60.0
_HEAD_STRENGTH = 0.7  # part of the clip's head motion that a driven portrait makes
_STYLE = 2000  # seeds apart from those of other sequences
_REFERENCES = 10  # frames nearest to the median pose of a clip; its reference is one of them


@dataclass(frozen=True)
class _Job:
    """One sequence to make. `portrait` is None for the real clip itself."""

    name: str
    clip: str
    portrait: Path | None
    seed: int
    quiet: bool = False


def prepare(recipe: DataRecipe) -> None:
    """Runs all steps. After an interruption the same call makes the rest."""
    if recipe.sung_variants:
        load_vocoder()  # otherwise the error would come after an hour
    spoken = make_spoken(recipe) if recipe.spoken_sequences else []
    clips, held_out = split_clips(recipe)
    log.info("%d clips for training, %d held out", len(clips), len(held_out))
    _run(_Tracks(recipe), _chunks([*clips, *held_out], 8), recipe.workers)
    tracked = [clip for clip in clips if (recipe.tracks / f"{clip.stem}.npy").exists()]
    jobs = [job for job in _jobs(recipe, tracked) if not (recipe.sequences / f"{job.name}.npz").exists()]
    recipe.sequences.mkdir(parents=True, exist_ok=True)
    _run(_Sequences(recipe), _chunks(jobs, 8), recipe.workers)
    draw_teeth(recipe)
    encode_voices(recipe, tracked)
    if spoken:
        encode_voices(recipe, spoken)
    if recipe.sung_variants:
        encode_songs(recipe, tracked)


def split_clips(recipe: DataRecipe) -> tuple[list[Path], list[Path]]:
    """(training, held out) clips: a fixed shuffle, of which the first ones are held out."""
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


def _spoken_jobs(recipe: DataRecipe, utterances: list[Path]) -> Iterator[_Job]:
    """Portraits, each as often as needed, and what they say, where there is no sequence of it yet."""
    portraits, _ = split_portraits(recipe)
    for index in range(recipe.spoken_sequences if utterances and portraits else 0):
        portrait = portraits[index * len(portraits) // recipe.spoken_sequences]
        said = utterances[index % len(utterances)].stem
        job = _Job(f"spoken-{portrait.stem}.{said}", said, portrait, index)
        if not (recipe.sequences / f"{job.name}.npz").exists():
            yield job


def make_spoken(recipe: DataRecipe) -> list[Path]:
    """Makes the portraits that speak with synthetic voices; the sound files of what they say."""
    utterances = speak_sentences(recipe)
    recipe.sequences.mkdir(parents=True, exist_ok=True)
    _run(_Spoken(recipe), _chunks(list(_spoken_jobs(recipe, utterances)), 8), recipe.workers)
    return utterances


def draw_teeth(recipe: DataRecipe) -> None:
    """Writes `recipe.teeth`, if enough portraits smile.

    From the portraits: the references of the sequences are too small to show lines between teeth.
    """
    if recipe.teeth.exists():
        return
    teeth = mean_teeth(_faces(recipe))
    if teeth is None:
        log.info("too few portraits smile, so there are no teeth")
    else:
        with whole_file(recipe.teeth) as file:
            np.save(file, teeth)


def _faces(recipe: DataRecipe) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.floating]]]:
    """Pictures and landmarks of the training portraits."""
    analyzer = FaceAnalyzer.from_pretrained(recipe.face_weights)
    for path in split_portraits(recipe)[0]:
        try:
            picture = read_image(path)
            face = select_face(analyzer.find_all(picture), None, (picture.shape[1], picture.shape[0]))
        except (FaceError, ImageError):
            continue
        yield picture, face.points_px


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
        track = load_track(recipe.tracks / f"{job.clip}.npy")
        frames = decode_frames(recipe.clips / f"{job.clip}.mp4")
        if job.portrait is None:
            reference = int(rng.choice(median_poses(track, _REFERENCES)))
            sequence = real_sequence(
                job.clip, frames, track, reference, size_px=recipe.size_px, crop_scale=recipe.crop_scale
            )
        else:
            found = _frontal_face(job.portrait, analyzer)
            if found is None:
                return False
            picture, face = found
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
                head_strength=_HEAD_STRENGTH,
                quiet=job.quiet,
            )
        sequence.save(recipe.sequences / f"{job.name}.npz")
        return True


@dataclass(frozen=True)
class _Spoken:
    """Portraits at rest that speak with synthetic voices."""

    recipe: DataRecipe

    def __call__(self, jobs: list[_Job]) -> int:
        analyzer = FaceAnalyzer.from_pretrained(self.recipe.face_weights)
        assert self.recipe.shapes is not None
        shapes = load_shapes(self.recipe.shapes)
        return sum(self._make(job, analyzer, shapes) for job in jobs)

    def _make(self, job: _Job, analyzer: FaceAnalyzer, shapes: Mapping[str, Doubles]) -> bool:
        recipe, rng = self.recipe, np.random.default_rng((self.recipe.split_seed, _STYLE, job.seed))
        assert job.portrait is not None
        found = _frontal_face(job.portrait, analyzer)
        if found is None:
            return False
        rest = find_rest_pose(*found, analyzer)
        if rest.is_mouth_covered:
            return False
        sequence = spoken_sequence(
            rest.image,
            rest.face,
            job.clip,
            load_utterance(recipe.utterances / f"{job.clip}.wav"),
            shapes,
            SpeakerStyle.draw(rng),
            size_px=recipe.size_px,
            crop_scale=recipe.crop_scale,
        )
        sequence.save(recipe.sequences / f"{job.name}.npz")
        return True


def _frontal_face(path: Path, analyzer: FaceAnalyzer) -> tuple[Image, Face] | None:
    """A picture and its face; None if it has none, or one that is small or turned away."""
    try:
        picture = read_image(path)
        face = select_face(analyzer.find_all(picture), None, (picture.shape[1], picture.shape[0]))
    except (FaceError, ImageError) as error:
        log.info("left out %s: %s", path.name, error)
        return None
    pose = head_pose(face.points_px)
    turn = max(abs(pose.yaw_deg), abs(pose.roll_deg))
    return None if turn > _MAX_TURN_DEG or face_width_px(face.points_px) < _MIN_FACE_PX else (picture, face)


def _chunks(items: list[Item], size: int) -> list[list[Item]]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _run(function: Callable[[list[Item]], int], batches: Iterable[list[Item]], workers: int) -> None:
    """Shares batches between processes; one worker is this process. An error in a batch stops the step."""
    with ExitStack() as stack:
        counts: Iterator[int] = map(function, batches)
        if workers > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            counts = pool.map(function, batches)
        for done, count in enumerate(counts, 1):
            log.info("%s: batch %d, %d made", type(function).__name__.strip("_"), done, count)
