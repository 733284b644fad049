"""The part "mouths": sheets of mouths to look at, a real one above strangers with the same sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import yaml

from benchmarks.portrait_life.bench import RATE_HZ, Bench, Figures
from benchmarks.portrait_life.recordings import Recording, of_clip
from benchmarks.portrait_mouth.people import speaking, video_of
from benchmarks.portrait_mouth.visemes import FPS, KINDS, people_of
from openemo.arrays import Floats, Image
from openemo.data.speech_synthesis import Phone, load_synthesizer
from openemo.data.visemes import viseme_of
from openemo.face.landmarks import OUTER_LIPS, face_width_px
from openemo.video.video_reader import read_frames

CLIPS, ROW, EXAMPLES = 3, 10, 3
TILE_PX = (150, 120)  # width and height of a mouth
VIEW = 0.75  # width of a tile, in face widths
LABEL_PX = 70
ALIGN_PER_FRAME = 1000  # unit of the corpus' word times
SILENCES = ("sil", "sp")
MARKS = frozenset("ˈˌ")
LONG = "\u02d0"


def mouths(bench: Bench) -> Figures:
    """Mouths in each kind of sound, and ten in a row, of a real speaker and of strangers with his voice.

    The real one is the training's speaker in sentences that no training had. Where a phone is inside a word
    is guessed: the word's time is divided by the phones that espeak-ng writes for it, long ones count twice.
    """
    phones = chosen_clips(bench)
    rows: dict[str, list[list[Image]]] = {"real": []}
    for clip in phones:
        path = bench.shared / "grid/s1" / f"{clip}.mp4"
        real = of_clip(path, bench.output / "real" / f"GRID s1-{clip}.npz", bench.pipeline.face_analyzer)
        rows["real"].append(mouths_of(path, real))
        for person in people_of(bench):
            made = speaking(bench, person, f"s1-{clip}", real.audio.mono().resample(RATE_HZ))
            rows.setdefault(person[0].stem, []).append(mouths_of(video_of(bench, person, f"s1-{clip}"), made))
    folder = bench.output / "sheets"
    folder.mkdir(parents=True, exist_ok=True)
    moments = moments_of(list(phones.values()))
    sheets = {
        "kinds.png": np.concatenate([kind_row(kind, found, rows) for kind, found in sorted(moments.items())]),
        **{
            f"row-{clip}.png": in_a_row({name: each[index] for name, each in rows.items()}, phones[clip])
            for index, clip in enumerate(phones)
        },
    }
    for name, sheet in sheets.items():
        cv2.imwrite(str(folder / name), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    return {"clips": list(phones), "sheets": sorted(sheets), "kinds": {k: len(v) for k, v in moments.items()}}


def chosen_clips(bench: Bench) -> dict[str, list[Phone]]:
    """The few clips kept out of training that have most kinds of sounds between them, with their phones."""
    listed = yaml.safe_load(Path("benchmarks/grid_s1_held_out.yaml").read_text(encoding="utf-8"))["clips"]
    write = load_synthesizer().phonemizer.phonemize
    said = {
        name: word_phones(bench.shared / "grid/align" / f"{name}.align", write)
        for name in (Path(clip).stem for clip in listed)
    }
    chosen: dict[str, list[Phone]] = {}
    while len(chosen) < CLIPS:
        seen = [kind_of(phone) for phones in chosen.values() for phone in phones]
        gain = {
            name: sum(1 / (1 + seen.count(kind)) for kind in {kind_of(phone) for phone in phones} if kind)
            for name, phones in said.items()
            if name not in chosen
        }
        best = max(gain, key=lambda name: gain[name])
        chosen[best] = said[best]
    return chosen


def word_phones(align: Path, write: Callable[[str, str], list[list[str]]]) -> list[Phone]:
    """Phones in a file of START END WORD lines: each word's time in equal parts, two for a long phone."""
    phones = []
    for line in align.read_text(encoding="utf-8").splitlines():
        start, end, word = line.split()
        if word in SILENCES:
            continue
        symbols = "".join(symbol for sentence in write("en-us", word) for symbol in sentence)
        spoken: list[str] = []
        weights: list[int] = []
        for symbol in symbols:
            if symbol == LONG and weights:
                weights[-1] = 2
            elif symbol not in MARKS and symbol != LONG:
                spoken.append(symbol)
                weights.append(1)
        edges = np.cumsum([0, *weights]) / sum(weights)
        start_s, end_s = (int(value) / ALIGN_PER_FRAME / FPS for value in (start, end))
        times = (start_s + (end_s - start_s) * edges).tolist()
        phones += [Phone(symbol, *ends) for symbol, ends in zip(spoken, pairwise(times), strict=True)]
    return phones


def kind_of(phone: Phone) -> str | None:
    return KINDS.get(viseme_of(phone.symbol))


def moments_of(clips: Sequence[Sequence[Phone]]) -> dict[str, list[tuple[int, int]]]:
    """Clip and frame of the longest phones of each kind."""
    found: dict[str, list[tuple[float, int, int]]] = {}
    for index, phones in enumerate(clips):
        for phone in phones:
            if kind := kind_of(phone):
                frame = int(FPS * (phone.start_s + phone.end_s) / 2)
                found.setdefault(kind, []).append((phone.start_s - phone.end_s, index, frame))
    return {
        kind: [(clip, frame) for _, clip, frame in sorted(each)[:EXAMPLES]] for kind, each in found.items()
    }


def kind_row(
    kind: str, moments: Sequence[tuple[int, int]], rows: Mapping[str, Sequence[Sequence[Image]]]
) -> Image:
    """A few moments: for each the real mouth, then the strangers'."""
    tiles = [each[clip][min(frame, len(each[clip]) - 1)] for clip, frame in moments for each in rows.values()]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (EXAMPLES * len(rows) - len(tiles))
    return np.concatenate([label(kind, tiles[0].shape[0]), *tiles], axis=1)


def in_a_row(clips: Mapping[str, Sequence[Image]], phones: Sequence[Phone]) -> Image:
    """Ten moments of what is said, a row for each face."""
    times = np.linspace(phones[0].start_s, phones[-1].end_s, ROW + 2)[1:-1]
    return np.concatenate(
        [
            np.concatenate(
                [
                    label(name[:7], TILE_PX[1]),
                    *(each[min(int(time * FPS), len(each) - 1)] for time in times),
                ],
                axis=1,
            )
            for name, each in clips.items()
        ]
    )


def mouths_of(video: Path, seen: Recording) -> list[Image]:
    frames = zip(read_frames(video), seen.points_px, strict=False)
    return [tile(frame, points) for frame, points in frames]


def tile(frame: Image, points: Floats) -> Image:
    """The mouth, upright in the frame; all faces equally wide."""
    if not np.isfinite(points).all():
        return np.zeros((TILE_PX[1], TILE_PX[0], 3), np.uint8)
    middle, side = points[list(OUTER_LIPS), :2].mean(axis=0), VIEW * face_width_px(points)
    scale = TILE_PX[0] / side
    onto = np.array(
        [[scale, 0, TILE_PX[0] / 2 - scale * middle[0]], [0, scale, TILE_PX[1] / 2 - scale * middle[1]]]
    )
    return np.asarray(cv2.warpAffine(frame, onto, TILE_PX, flags=cv2.INTER_CUBIC), np.uint8)


def label(text: str, height: int) -> Image:
    picture = np.full((height, LABEL_PX, 3), 255, np.uint8)
    return np.asarray(
        cv2.putText(picture, text, (4, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0)), np.uint8
    )
