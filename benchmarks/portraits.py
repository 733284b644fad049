"""Measures what a corpus of clips cannot show: unseen portraits, silence, other languages, minutes of speech.

    OMP_NUM_THREADS=1 python benchmarks/portraits.py --shared ../shared/data -o docs/results/portraits
    OMP_NUM_THREADS=1 python benchmarks/portraits.py --shared ../shared/data -o out/portraits --parts silence
    OMP_NUM_THREADS=1 python benchmarks/portraits.py --shared ../shared/data -o out/life --parts motion strips

There is no real video to compare with. Each part has its own reference: the same portrait in silence, the
portrait itself, or English. The portraits are those that `recipes/data.yaml` keeps out of training. Each part
is written as soon as it is measured, and a second run keeps it. Run parts side by side with one thread each:
two threads are no faster on pictures this small, and two processes of two threads wait for each other.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

# For the parts about life.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.portrait_life.bench import (
    LANGUAGES,
    RATE_HZ,
    Bench,
    Extent,
    Figures,
    cut,
    load_portraits,
    passages,
)
from benchmarks.portrait_life.emotion import ARGUMENTS, emotion
from benchmarks.portrait_life.motion import motion
from benchmarks.portrait_life.strips import strips
from benchmarks.portrait_mouth.closures import closures
from benchmarks.portrait_mouth.hearing import hearing
from benchmarks.portrait_mouth.mandarin import mandarin
from benchmarks.portrait_mouth.mouths import mouths
from benchmarks.portrait_mouth.song import song
from benchmarks.portrait_mouth.visemes import visemes
from openemo import EmoPipeline
from openemo.arrays import Image
from openemo.audio.audio_reader import Audio
from openemo.evaluation.metrics.frame_statistics import spread
from openemo.evaluation.metrics.identity import score_identity
from openemo.evaluation.metrics.life import score_life
from openemo.evaluation.metrics.picture import background_mask, face_chips, flicker, sharpness
from openemo.evaluation.metrics.sync_own import score_distances, score_sync_own, shift_distances
from openemo.evaluation.networks.own_sync_network import OwnSyncNetwork, SyncEmbeddings
from openemo.evaluation.observation import Observation, Observer
from openemo.evaluation.rows import silence_like
from openemo.face.crop import CropRegion
from openemo.face.landmarks import mouth_opening
from openemo.face.turning import PictureTurn
from openemo.models.sync_embedder import ROWS_PER_FRAME, WINDOW_FRAMES

ROLLS_DEG = (15, 30, 45, 60, 90, 180)
ROLL_PICTURE_PX = 640  # longest side


def is_speech(audio: Audio) -> NDArray[np.bool_]:
    """Whether each 10 ms is less than 25 dB below the passage's loud parts (the 95th percentile)."""
    step = RATE_HZ // 100
    power = (audio.samples[0][: audio.samples.shape[1] // step * step].reshape(-1, step) ** 2).mean(1)
    return np.asarray(power >= np.percentile(power, 95) * 10**-2.5)


def in_step_of_speech(embeddings: SyncEmbeddings | None, speech: NDArray[np.bool_]) -> float:
    """Sync-own in step over windows that are speech for at least half their length.

    Lips cannot follow a pause, so recordings with long pauses would look worse.
    """
    if embeddings is None:
        return float("nan")
    windows = sliding_window_view(speech, ROWS_PER_FRAME * WINDOW_FRAMES)[::ROWS_PER_FRAME].mean(-1) >= 0.5
    seen = embeddings.seen.copy()
    seen[: len(windows)] &= windows[: len(seen)]
    return score_distances(shift_distances(replace(embeddings, seen=seen))).in_step


def chained(audios: list[Audio], seconds: float) -> Audio:
    """The recordings one after the other, repeated until they last `seconds`."""
    once = np.concatenate([audio.samples for audio in audios], 1)
    count = -(-round(seconds * RATE_HZ) // once.shape[1])
    return cut(Audio(np.tile(once, (1, count)), RATE_HZ), seconds)


def sharpness_of(seen: Observation) -> float:
    return float(np.mean([sharpness(chip) for chip in face_chips(seen) if chip is not None]))


def silent_mouths(bench: Bench) -> Figures:
    """Spread of the mouth's opening in silence over that in speech, 20 portraits, 2 s each."""
    voice, ratios = cut(bench.voice("speech/fleurs-en-001.ogg"), 2.0), {}
    for path, picture in bench.portraits[:20]:
        quiet, loud = (
            spread(bench.observe(picture, audio).curve(mouth_opening))
            for audio in (silence_like(voice), voice)
        )
        ratios[path.stem] = quiet / loud
    values = list(ratios.values())
    return {"mean": np.mean(values), "largest": max(values), "portraits": len(values), "each": ratios}


def likeness(bench: Bench) -> Figures:
    """Identity, sharpness and still background over 50 portraits, each collection, 2 s of speech each."""
    voice, rows = cut(bench.voice("speech/fleurs-en-003.ogg"), 2.0), {}
    collections: dict[str, list[Figures]] = {}
    for path, picture in bench.portraits[:50]:
        made, portrait = bench.observe(picture, voice), bench.crop(picture)
        row = {
            "identity_cosine": score_identity(made, portrait)["identity_cosine"],
            "sharpness": sharpness_of(made) / sharpness_of(portrait),
            "flicker_grey": flicker(made.frames, background_mask(made)),
            "mouth_spread": spread(made.curve(mouth_opening)),
            "faces_found": float(made.has_face.mean()),
        }
        rows[path.stem] = row
        collections.setdefault(path.parent.name, []).append(row)
    parts = {name: summary(part) for name, part in sorted(collections.items())}
    return summary(list(rows.values())) | {"collections": parts, "each": rows}


def summary(rows: list[Figures]) -> Figures:
    """Mean, smallest and largest value of each figure."""
    figures: Figures = {"portraits": len(rows)}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        figures[key] = {"mean": np.nanmean(values), "least": np.nanmin(values), "most": np.nanmax(values)}
    return figures


def life(bench: Bench) -> Figures:
    """Blinks and head over 60 s of English, one portrait."""
    voices = [bench.voice(f"speech/fleurs-en-00{i}.ogg") for i in range(6)]
    path, picture = bench.portraits[0]
    return score_life(bench.observe(picture, chained(voices, 60.0))) | {"portrait": path.stem}


def languages(bench: Bench) -> Figures:
    """Sync-own, 6 s of each language's voices and of a song's passages, two portraits in turns."""
    voices = {
        code: {
            path.stem: passages(bench.voice(f"speech/{path.name}"), 6.0)[0]
            for path in sorted((bench.shared / "speech").glob(f"fleurs-{code}-*.ogg"))
        }
        for code in LANGUAGES
    }
    song = passages(bench.voice("singing/antagata_dokosa.flac"), 6.0)
    voices["song"] = {f"passage {number}": audio for number, audio in enumerate(song, 1)}
    figures: Figures = {}
    for code, audios in voices.items():
        rows = {}
        for index, (name, audio) in enumerate(audios.items()):
            seen = bench.observe(bench.portraits[index % 2][1], audio)
            embeddings, speech = bench.sync.embed(seen), is_speech(audio)
            rows[name] = row = score_sync_own(embeddings) | {
                "sync_own_in_step_of_speech": in_step_of_speech(embeddings, speech),
                "mouth_spread": spread(seen.curve(mouth_opening)),
                "pauses": float(1 - speech.mean()),
            }
        means = {key: np.nanmean([row[key] for row in rows.values()]) for key in row}
        between = {
            f"{key}_between_passages": np.nanstd([row[key] for row in rows.values()])
            for key in ("sync_own_in_step", "sync_own_in_step_of_speech")
        }
        figures[code] = means | {"passages": len(rows)} | between
        figures[code]["each"] = rows
    return figures


def drift(bench: Bench) -> Figures:
    """The last 10 s of 3 minutes over the first: sharpness, and the mean of each colour channel."""
    voices = [bench.voice(f"speech/fleurs-{code}-001.ogg") for code in LANGUAGES]
    path, picture = bench.portraits[1]
    window, total = 250, 4500
    parts: dict[str, list[NDArray[np.uint8]]] = {"first": [], "last": []}
    for index, frame in enumerate(bench.animate(picture, chained(voices, total / 25))):
        if index < window:
            parts["first"].append(frame)
        elif index >= total - window:
            parts["last"].append(frame)
    sharp, colour = {}, {}
    for name, frames in parts.items():
        seen = bench.observer(frames, 25.0, None)
        sharp[name] = sharpness_of(seen)
        colour[name] = np.mean([chip for chip in face_chips(seen) if chip is not None], axis=(0, 1, 2))
    return {
        "sharpness_ratio": sharp["last"] / sharp["first"],
        "colour_ratio": (colour["last"] / colour["first"]).tolist(),
        "portrait": path.stem,
    }


def roll(bench: Bench) -> Figures:
    """Ten portraits turned by an angle, their videos turned back, over the upright one's video; 2 s each.

    lips_r: correlation of the mouth's opening with that of the upright video. lips_spread, identity_cosine:
    over those of the upright video. seam_grey: difference from the still picture along the animated edge.
    """
    voice, rows = cut(bench.voice("speech/fleurs-en-002.ogg"), 2.0), {}
    for path, whole in bench.portraits[:10]:
        height, width = (round(side * ROLL_PICTURE_PX / max(whole.shape[:2])) for side in whole.shape[:2])
        picture = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        portrait = bench.observer([picture], 25.0, None)
        _, upright = rolled_frames(bench, picture, voice, 0)
        seen = bench.observer(upright, 25.0, voice)
        opening, likeness = seen.curve(mouth_opening), score_identity(seen, portrait)["identity_cosine"]
        rows[path.stem] = row = {"seam_grey_0": seam_of(bench, picture, upright)}
        for angle in ROLLS_DEG:
            still, frames = rolled_frames(bench, picture, voice, angle)
            turned = bench.observer(frames, 25.0, voice)
            curve = turned.curve(mouth_opening)
            row |= {
                f"lips_r_{angle}": float(np.corrcoef(curve, opening)[0, 1]),
                f"lips_spread_{angle}": spread(curve) / spread(opening),
                f"identity_cosine_{angle}": score_identity(turned, portrait)["identity_cosine"] / likeness,
                f"seam_grey_{angle}": seam_of(bench, still, frames),
            }
    return summary(list(rows.values())) | {"each": rows}


def rolled_frames(bench: Bench, picture: Image, voice: Audio, angle: float) -> tuple[Image, list[Image]]:
    """The picture and its video's frames, turned clockwise by an angle in degrees and turned back."""
    height, width = picture.shape[:2]
    turned = PictureTurn(-angle % 360, width, height).apply(picture)

    def turn_back(frame: Image) -> Image:
        back = PictureTurn(angle, turned.shape[1], turned.shape[0]).apply(frame)
        y, x = (back.shape[0] - height) // 2, (back.shape[1] - width) // 2
        return back[y : y + height, x : x + width]

    return turn_back(turned), [turn_back(frame) for frame in bench.pipeline(turned, voice, fps=25)]


def seam_of(bench: Bench, picture: Image, frames: list[Image]) -> float:
    """Mean grey levels between frames and picture within 3 % of the edge of the square around the face."""
    face = bench.pipeline.face_analyzer.find(picture)
    outer, inner = (CropRegion.around(face, share * bench.pipeline.config.crop_scale) for share in (1, 0.94))
    ring = np.zeros(picture.shape[:2], bool)
    for region, is_ring in ((outer, True), (inner, False)):
        x0, y0, x1, y1 = np.clip(region.box_px, 0, None)
        ring[y0:y1, x0:x1] = is_ring
    return float(np.mean([np.abs(frame[ring].astype(float) - picture[ring]).mean() for frame in frames]))


PARTS: dict[str, Callable[[Bench], Figures]] = {
    "silence": silent_mouths,
    "likeness": likeness,
    "life": life,
    "languages": languages,
    "drift": drift,
    "roll": roll,
    "motion": motion,
    "emotion": emotion,
    "strips": strips,
    "visemes": visemes,
    "mandarin": mandarin,
    "closures": closures,
    "hearing": hearing,
    "song": song,
    "mouths": mouths,
}
NEEDED: dict[str, tuple[str, ...]] = {"emotion": ARGUMENTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, required=True, help="folder with portraits/, speech/, singing/"
    )
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--people", type=int, default=20, help="strangers of the parts about life")
    parser.add_argument("--voices", type=int, default=6, help="voices of the part motion, 6 at most")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each voice of the part motion")
    parser.add_argument(
        "--clips", type=Path, nargs="*", default=[], help="folders of real clips beside those of --shared"
    )
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    pipeline = EmoPipeline.from_pretrained(arguments.model)
    bench = Bench(
        pipeline,
        Observer.from_pretrained(),
        OwnSyncNetwork.from_pretrained(),
        load_portraits(arguments.shared, pipeline.face_analyzer, 50),
        arguments.shared,
        arguments.output,
        tuple(arguments.clips),
        Extent(arguments.people, arguments.voices, arguments.seconds),
    )
    for name in arguments.parts:
        path = arguments.output / f"{name}.json"
        if missing := bench.lacks(*NEEDED.get(name, ())):
            sys.stdout.write(f"{name}: not measured, a call of this pipeline has no {', '.join(missing)}\n")
            continue
        if not path.exists():
            figures = {"what": PARTS[name].__doc__, "model": arguments.model} | PARTS[name](bench)
            path.write_text(json.dumps(figures, indent=1, default=float) + "\n", encoding="utf-8")
        shown = {k: v for k, v in json.loads(path.read_text(encoding="utf-8")).items() if k != "each"}
        sys.stdout.write(json.dumps({name: shown}, indent=1) + "\n")


if __name__ == "__main__":
    main()
