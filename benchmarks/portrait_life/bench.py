"""What every part of `benchmarks/portraits.py` needs: the pipeline, people, voices."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openemo import EmoPipeline
from openemo.audio.audio_reader import Audio, read_audio
from openemo.data.data_recipe import DataRecipe
from openemo.data.prepare import split_portraits
from openemo.errors import FaceError
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork
from openemo.evaluation.observation import Observation, Observer
from openemo.face.analyzer import FaceAnalyzer
from openemo.face.crop import CropRegion
from openemo.face.landmarks import mouth_opening
from openemo.settings import load_recipe
from openemo.video.images import read_image

RATE_HZ = 16000
LANGUAGES = ("en", "de", "fr", "es", "pt")
SIZE_PX = 256
SHUT, OPEN = 0.012, 0.05  # opening of a mouth, face widths
OF_EACH_REST = 4
Figures = dict[str, Any]
Portraits = list[tuple[Path, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Extent:
    """How much the parts about life measure."""

    people: int = 20
    voices: int = 6
    seconds: float = 8.0


@dataclass(frozen=True)
class Bench:
    """What every part needs.

    Attributes:
        portraits: paths and pictures that no training has used.
        output: folder of the results.
        clips: folders of real clips beside those of the corpus in `shared`.
    """

    pipeline: EmoPipeline
    observer: Observer
    sync: OwnSyncNetwork
    portraits: Portraits
    shared: Path
    output: Path
    clips: tuple[Path, ...] = ()
    extent: Extent = Extent()

    def animate(self, picture: NDArray[np.uint8], audio: Audio, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
        return iter(self.pipeline(picture, audio, seed=seed, framing="crop", size_px=SIZE_PX, fps=25))

    def observe(self, picture: NDArray[np.uint8], audio: Audio, seed: int = 0) -> Observation:
        return self.observer(self.animate(picture, audio, seed), 25.0, audio)

    def crop(self, picture: NDArray[np.uint8]) -> Observation:
        """The portrait's own square around the face, as large as the video's."""
        region = CropRegion.around(self.pipeline.face_analyzer.find(picture), self.pipeline.config.crop_scale)
        return self.observer([region.extract(picture, SIZE_PX)], 25.0, None)

    def voice(self, name: str) -> Audio:
        return read_audio(self.shared / name).mono().resample(RATE_HZ)

    def strangers(self, count: int | None = None) -> Portraits:
        """Colour portraits of the collection "congress", the first so many."""
        colour = [(path, picture) for path, picture in self.portraits if path.parent.name == "congress"]
        return colour[: self.extent.people if count is None else count]

    @cached_property
    def strangers_by_rest(self) -> tuple[Portraits, Portraits]:
        """Four strangers each whose photo has a shut and an open mouth; the open ones show their teeth."""
        shut, wide = Portraits(), Portraits()
        for path, picture in self.strangers(len(self.portraits)):
            opening = mouth_opening(self.pipeline.face_analyzer.find(picture).points_px)
            if opening < SHUT and len(shut) < OF_EACH_REST:
                shut.append((path, picture))
            elif opening > OPEN and len(wide) < OF_EACH_REST:
                wide.append((path, picture))
        return shut, wide

    def voices(self) -> dict[str, Audio]:
        """One reading of each language and a speech, each from its first sound."""
        files = [*(f"speech/fleurs-{code}-001.ogg" for code in LANGUAGES), "speech/jfk.flac"]
        return {
            Path(name).stem: passages(self.voice(name), self.extent.seconds)[0]
            for name in files[: self.extent.voices]
        }

    def video(self, portrait: Path, voice: str) -> Path:
        """Where the parts about life keep a video: made once, whatever part makes it first."""
        return self.output / "videos" / f"{portrait.stem}-{voice}-{self.extent.seconds:g}s.mp4"

    def lacks(self, *arguments: str) -> list[str]:
        """Which of these arguments a call of the pipeline does not have."""
        known = inspect.signature(self.pipeline.__call__).parameters
        return [argument for argument in arguments if argument not in known]


def cut(audio: Audio, seconds: float) -> Audio:
    return Audio(audio.samples[:, : round(seconds * audio.sample_rate_hz)], audio.sample_rate_hz)


def passages(audio: Audio, seconds: float) -> list[Audio]:
    """Passages of equal length, starting at the first sound, because silence tells nothing about lips.

    The last passage may be shorter, but not below half the length.
    """
    mean = np.sqrt(np.convolve(audio.samples[0] ** 2, np.full(RATE_HZ // 10, 10 / RATE_HZ), "same"))
    rest, length = audio.samples[:, int(np.argmax(mean > 0.1 * mean.max())) :], round(seconds * RATE_HZ)
    starts = range(0, rest.shape[1] - length // 2, length)
    return [Audio(rest[:, start : start + length], RATE_HZ) for start in starts]


def load_portraits(shared: Path, analyzer: FaceAnalyzer, count: int) -> Portraits:
    """The first `count` portraits kept out of training in which a face is found."""
    folders = f"portraits=[{shared / 'portraits/congress'}, {shared / 'portraits/historic'}]"
    _, held_out = split_portraits(load_recipe(DataRecipe, Path("recipes/data.yaml"), [folders]))
    portraits = []
    for path in held_out:
        picture = read_image(path)
        try:
            analyzer.find(picture)
        except FaceError:
            continue
        portraits.append((path, picture))
    return portraits[:count]
