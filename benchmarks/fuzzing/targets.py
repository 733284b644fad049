"""What is fuzzed: for each reader its whole inputs, how they are damaged, and how they are read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.fuzzing import sources
from benchmarks.fuzzing.absurd import HOSTILE_NAMES, absurd_picture, absurd_sound, make_special
from benchmarks.fuzzing.byte_mutations import Random, pick
from benchmarks.fuzzing.structures import mutate_file
from openemo import checkpoints
from openemo.audio.audio_reader import read_audio
from openemo.checkpoints.combining import combine
from openemo.checkpoints.importing import import_weights
from openemo.checkpoints.upgrading import upgrade
from openemo.checkpoints.verifying import verify
from openemo.cli.main import main
from openemo.data.data_recipe import DataRecipe
from openemo.data.sequences import FrameSequence
from openemo.errors import OpenEmoError
from openemo.evaluation.benchmark_clips import ClipList, list_clips
from openemo.evaluation.records import read_record
from openemo.evaluation.report.comparison import compare, comparison_table
from openemo.evaluation.report.report import load_report, markdown
from openemo.evaluation.set_metrics import read_features
from openemo.face import FaceAnalyzer
from openemo.pipeline import EmoPipeline
from openemo.pipeline.inputs import open_clip, to_audio, to_image, to_integer, to_seed
from openemo.settings import load_recipe
from openemo.training.datasets.latent_sequences import LatentSequence
from openemo.training.datasets.sync_data import SyncData
from openemo.training.datasets.voice_files import load_songs, load_voices
from openemo.training.recipes import AudioRecipe, AutoencoderRecipe, DenoiserRecipe, SyncRecipe
from openemo.training.training_state import TrainingState
from openemo.video.images import read_image
from openemo.video.video_reader import probe, read_frames

__all__ = ["TARGETS", "Target"]

Source = Callable[[Path], None]
_MOST_FRAMES: Final = 200
_CLIP_S: Final = 10.0
_MOST_WORD_BYTES: Final = 2**21  # what systems take as arguments
_SPEECH_RATE_HZ: Final = 16_000
_STAGES: Final[dict[str, type[Any]]] = {
    "audio": AudioRecipe,
    "audio_refine": AudioRecipe,
    "autoencoder": AutoencoderRecipe,
    "decoder": AutoencoderRecipe,
    "image": DenoiserRecipe,
    "video": DenoiserRecipe,
    "speed": DenoiserRecipe,
    "sync": SyncRecipe,
    "data": DataRecipe,
}


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        sources: writes whole inputs, one folder each.
        read: reads what is in the first folder, and may write into the second one if it succeeds.
        share: how many inputs, beside those of the other targets.
        absurd: writes an absurd input in place of a damaged one.
    """

    sources: Source
    read: Callable[[Path, Path], None]
    share: float = 1.0
    absurd: Callable[[Path, Random], str] | None = None

    def make(self, wholes: Path, folder: Path, rng: Random) -> str:
        """Makes one input in `folder`, which does not exist; returns what it is."""
        if self.absurd is not None and rng.random() < 0.08:
            folder.mkdir()
            return self.absurd(folder, rng)
        source = pick(rng, sorted(wholes.iterdir()))
        shutil.copytree(source, folder, copy_function=os.link)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = pick(rng, files)
        what = self._damage(path, rng)
        hashes = folder / "SHA256SUMS"
        is_special = what.startswith("special")
        if not is_special and path != hashes and hashes.is_file() and rng.random() < 0.95:
            hashes.unlink()  # it is a link to the whole input
            checkpoints.write_hashes(folder)
        return f"{source.name}/{path.name!r}: {what}"

    def copy(self, wholes: Path, folder: Path, number: int) -> str:
        """A whole input, unchanged."""
        sources = sorted(wholes.iterdir())
        shutil.copytree(sources[number % len(sources)], folder)
        return f"{sources[number % len(sources)].name}, whole"

    def _damage(self, path: Path, rng: Random) -> str:
        drawn = rng.random()
        if drawn < 0.015:
            return f"special: {make_special(path, rng)}"
        if drawn < 0.03:
            name = pick(rng, HOSTILE_NAMES)
            path.rename(path.with_name(name + path.suffix))
            return f"renamed to {name!r}"
        if drawn < 0.035:
            other = pick(rng, sorted(path.parent.iterdir()))
            if other.is_file() and other != path:
                path.unlink()
                os.link(other, path)
                return f"replaced by {other.name!r}"
        data, what = mutate_file(path.name, path.read_bytes(), rng)
        path.unlink()  # it is a link to the whole input
        path.write_bytes(data)
        return what


def _only(folder: Path) -> Path:
    return next(folder.iterdir(), folder / "missing")


def _read_sound(source: Path, _: Path) -> None:
    read_audio(_only(source)).mono().resample(_SPEECH_RATE_HZ)


def _read_video(source: Path, _: Path) -> None:
    path = _only(source)
    probe(path)
    for _frame in islice(read_frames(path), _MOST_FRAMES):
        pass


def _read_clip(source: Path, _: Path) -> None:
    with open_clip(_only(source), max_s=_CLIP_S) as frames:
        for _frame in frames:
            pass


def _import(form: str, source: Path, output: Path) -> None:
    files = list(source.iterdir())
    # OpenAI's and AnimateDiff's weights are single files.
    alone = form in ("whisper", "animatediff") and len(files) == 1 and not files[0].is_dir()
    import_weights(form, files[0] if alone else source, output / "weights")


def _combine(source: Path, output: Path) -> None:
    combine(
        source / "sd15",
        source / "animatediff",
        source / "wav2vec2",
        sources.EMBEDDED / "face",
        output / "model",
    )


def _read_recipe(source: Path, _: Path) -> None:
    path = next((path for path in source.iterdir() if path.suffix == ".yaml"), source / "missing.yaml")
    if path.stem == "clips":
        list_clips(source, load_recipe(ClipList, path, []))
    else:
        load_recipe(_STAGES.get(path.stem, DataRecipe), path, [])


def _read_state(source: Path, _: Path) -> None:
    TrainingState({"net": sources.TrainedModule()}, sources.LOOP).resume(source)


def _read_training_data(source: Path, _: Path) -> None:
    """Everything, each on its own, because an error of the first would hide the others."""
    readers: list[Callable[[], Any]] = [
        lambda: load_voices(source / "voices"),
        lambda: load_songs(source / "voices"),
        lambda: SyncData.load(source / "sync.npz"),
        lambda: read_features(source / "record"),
        *(partial(_read_sequence, path) for path in (source / "sequences").glob("*.npz")),
        *(partial(LatentSequence.load, path) for path in (source / "latents").glob("*.npz")),
    ]
    first: OpenEmoError | None = None
    for read in readers:
        try:
            read()
        except OpenEmoError as error:
            first = first or error
    if first is not None:
        raise first


def _read_sequence(path: Path) -> None:
    sequence = FrameSequence.load(path)
    for index in range(sequence.num_frames + 1):
        sequence.picture(index)


def _read_reports(source: Path, _: Path) -> None:
    read_record(source / "record.json", {"a": 1})
    first, second = load_report(source / "a.json"), load_report(source / "b.json")
    comparison_table(first, second, compare(first, second))
    markdown(first)


def _find_face(source: Path, _: Path) -> None:
    FaceAnalyzer.from_pretrained(source).find(_portrait())


@cache
def _portrait() -> NDArray[np.uint8]:
    return read_image(sources.PORTRAIT)[::4, ::4]


def _run_command(source: Path, _: Path) -> None:
    """A command that is no list of words is none. An error must be one line."""
    path = _only(source)
    if not path.is_file() or path.stat().st_size > _MOST_WORD_BYTES:
        return
    try:
        words = json.loads(path.read_bytes())
        line = [word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") for word in words]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return
    if any("\0" in word for word in line):  # no system passes these on
        return
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(line)
    if code:
        text = said.getvalue()
        if "error: unexpected " in text:
            raise RuntimeError(text)
        raise OpenEmoError(text.strip().removesuffix("."))


def _odd_object(rng: Random) -> Any:
    """Something that a program might hand over as a portrait, a sound or a number."""
    shape = tuple(rng.choice([0, 1, 2, 3, 4, 5, 64], size=int(rng.integers(0, 6))).tolist())
    dtype = pick(
        rng, ["u1", "i1", "u2", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "?", "O", "U3", "M8[s]", "V4"]
    )
    values = np.zeros(shape, dtype)
    if dtype[0] in "fc":
        values = values + pick(rng, [0, 0.5, np.nan, np.inf, 1e30])
    tensor = torch.zeros(
        shape,
        dtype=pick(rng, [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.int64, torch.bool]),
    )
    rate: Any = pick(
        rng, [0, -1, 1, 16_000, 2**31, 2**70, 8000.5, "8000", None, True, np.int64(8000), np.float32(8000)]
    )
    return pick(
        rng,
        [
            values,
            tensor,
            tensor.to("meta"),
            tensor.to_sparse() if tensor.ndim else tensor,
            np.ma.masked_array(values, mask=np.ones(shape, bool)) if dtype[0] in "uif" else values,
            np.asfortranarray(values)[::-1] if values.ndim else values,
            (rate, values),
            (rate, tensor),
            (values, rate),
            [rate, values],
            {"waveform": values, "sample_rate": rate},
            {"waveform": tensor, "sample_rate": rate},
            {"waveform": None},
            io.BytesIO(rng.bytes(30)),
            io.StringIO("x"),
            rng.bytes(30),
            bytearray(b"RIFF"),
            memoryview(b"RIFF"),
            "",
            "\0",
            "a\udce9",
            "x" * 5000,
            Path(),
            rate,
            10**400,
            1e400,
            float("nan"),
            [],
            {},
            object(),
            print,
        ],
    )


def _odd_objects(folder: Path, rng: Random) -> str:
    seed = int(rng.integers(2**31))
    (folder / "seed").write_text(str(seed))
    return f"object {seed}"


def _read_object(source: Path, _: Path) -> None:
    rng = np.random.default_rng(int((source / "seed").read_text()))
    readers: list[Callable[[Any], Any]] = [to_image, to_audio, to_seed, partial(to_integer, "fps")]
    pick(rng, readers)(_odd_object(rng))


@dataclass(frozen=True)
class _Objects(Target):
    """Objects of Python. Each is made again from its seed in the process that reads it."""

    def make(self, wholes: Path, folder: Path, rng: Random) -> str:
        folder.mkdir()
        return _odd_objects(folder, rng)


def _published_target(form: str) -> Target:
    return Target(partial(sources.published, form), partial(_import, form), share=0.6)


TARGETS: Final[dict[str, Target]] = {
    "pictures": Target(
        sources.pictures, lambda source, _: void(read_image(_only(source))), 3.0, absurd_picture
    ),
    "sounds": Target(sources.sounds, _read_sound, 3.0, absurd_sound),
    # The same as a call reads them.
    "portraits": Target(
        sources.pictures, lambda source, _: void(to_image(_only(source))), 1.0, absurd_picture
    ),
    "voices": Target(sources.sounds, lambda source, _: void(to_audio(_only(source))), 1.0, absurd_sound),
    "videos": Target(sources.videos, _read_video),
    "clips": Target(sources.videos, _read_clip),
    "objects": _Objects(lambda folder: folder.mkdir(), _read_object),
    "checkpoints": Target(
        sources.checkpoint, lambda source, _: void(EmoPipeline.from_pretrained(source)), 1.5
    ),
    "verify": Target(sources.checkpoint, lambda source, _: void(verify(source)), 0.5),
    "upgrade": Target(sources.checkpoint, lambda source, output: upgrade(source, output / "new"), 0.5),
    "faces": Target(sources.face_networks, _find_face, 0.5),
    "sd15": _published_target("sd15"),
    "animatediff": _published_target("animatediff"),
    "wav2vec2": _published_target("wav2vec2"),
    "whisper": _published_target("whisper"),
    "hallo": _published_target("hallo"),
    "echomimic": _published_target("echomimic"),
    "echomimic-acc": _published_target("echomimic-acc"),
    "combine": Target(sources.combinable, _combine, 0.5),
    "recipes": Target(sources.recipes, _read_recipe, 1.5),
    "states": Target(sources.training_states, _read_state),
    "training-data": Target(sources.training_data, _read_training_data, 1.5),
    "reports": Target(sources.reports, _read_reports, 1.5),
    "commands": Target(sources.commands, _run_command),
}


def void(_: object) -> None:
    """Forgets a result."""
