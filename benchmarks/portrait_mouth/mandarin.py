"""The part "mandarin": a speaker whose mouth was tracked, in a language and a voice that no training had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import torch

from benchmarks.portrait_life.bench import RATE_HZ, Bench, Figures
from benchmarks.portrait_life.motion import real_clips
from benchmarks.portrait_mouth.people import speaking
from openemo import EmoPipeline
from openemo.arrays import Doubles
from openemo.audio.audio_reader import Audio
from openemo.data.mouth_shapes import load_shapes
from openemo.evaluation.metrics.chance_correlation import correlate_beside_chance
from openemo.evaluation.metrics.frame_statistics import mean, spread
from openemo.evaluation.metrics.unseen_ridge import unseen_correlations
from openemo.evaluation.metrics.viseme_shapes import MEASURES, mouth_measures

FPS, SECONDS = 25, 4
CURVES = ("opening", "width")
LEAST_SPREAD = 0.003  # of a clip's opening; others are pauses
BIN = 10  # frames of one position
# Which shapes of ICT-FaceKit stand for her controls; names without a side stand for both.
SHAPES: Mapping[str, Mapping[str, float]] = {
    "mouth_stretch_c": {"jawOpen": 0.9},
    "mouth_oh_c": {"mouthFunnel": 0.45, "mouthPucker": 0.45},
    "mouth_oo_c": {"mouthPucker": 0.8, "mouthFunnel": 0.2},
    **{f"mouth_pucker_{side}": {"mouthPucker": 0.5} for side in "lr"},
    **{f"mouth_funnel_{place}": {"mouthFunnel": 0.25} for place in ("dl", "dr", "ul", "ur")},
    **{f"mouth_suck_d{side}": {"mouthRollLower": 0.5} for side in "lr"},
    **{f"mouth_suck_u{side}": {"mouthRollUpper": 0.5} for side in "lr"},
    "mouth_chinRaise_u": {"mouthShrugUpper": 1.0},
    **{
        f"mouth_{ours}_{side}": {f"mouth{theirs}_{side.upper()}": 1.0}
        for side in "lr"
        for ours, theirs in {
            "lowerLipDepress": "LowerDown",
            "upperLipRaise": "UpperUp",
            "press": "Press",
            "lipStretch": "Stretch",
            "lipCornerPull": "Smile",
        }.items()
    },
}


def mandarin(bench: Bench) -> Figures:
    """Opening and width of a Mandarin speaker, from the audio layers and from videos of one stranger.

    The read-out of the audio layers is a ridge regression: on her other takes; and on one English speaker
    alone, who is the training's. Whole takes, and clips of 4 s of the same fit, beside the position in the
    clip and another take's sound. Videos: the liveliest 4 s of each take, without any fit.
    """
    takes = load_takes(bench)
    features = {
        name: audio_features(bench.pipeline, audio, len(curves)) for name, (audio, curves) in takes.items()
    }
    english = english_clips(bench)
    figures: Figures = {"takes": list(takes)}
    for index, name in enumerate(CURVES):
        curves = {take: curves[:, index] for take, (_, curves) in takes.items()}
        figures[name] = read_out(features, curves, takes) | {
            "fitted on an English speaker": transferred(features, curves, english, index)
        }
    return figures | {"videos": in_videos(bench, takes)}


def load_takes(bench: Bench) -> dict[str, tuple[Audio, Doubles]]:
    """Sound and (F, 2) opening and width in face widths of each take, at the middles of frames of 25 fps."""
    shapes = load_shapes(bench.shared / "expressions/ict_basis.npz")
    with np.load(bench.shared / "expressions/ict_basis.npz") as arrays:
        neutral = np.asarray(arrays["neutral"], np.float64)
    with np.load(bench.shared / "facegood/controls.npz") as arrays:
        names, fps = arrays["names"].tolist(), float(arrays["fps"])
        controls = {take: np.asarray(arrays[take], np.float64) for take in arrays["takes"].tolist()}
    moves = np.stack([displacement(name, shapes) for name in names])
    takes = {}
    for take, values in controls.items():
        audio = bench.voice(f"facegood/{take}.flac")
        times_s = (np.arange(int(len(values) / fps * FPS)) + 0.5) / FPS
        asked = np.stack([np.interp(times_s * fps, np.arange(len(values)), each) for each in values.T], 1)
        takes[take] = audio, mouth_curves(neutral + np.tensordot(asked, moves, 1))
    return takes


def displacement(control: str, shapes: Mapping[str, Doubles]) -> Doubles:
    """(478, 3) of one of her controls at 1."""
    parts = [
        gain * (shapes[name] if name in shapes else shapes[f"{name}_L"] + shapes[f"{name}_R"])
        for name, gain in SHAPES.get(control, {}).items()
    ]
    return np.asarray(np.sum(parts, axis=0)) if parts else np.zeros((478, 3))


def mouth_curves(points_FP3: Doubles) -> Doubles:
    """(F, 2) opening, not below 0, and width of a head that stands still, in face widths."""
    gap = points_FP3[:, 14, 1] - points_FP3[:, 13, 1]
    width = np.linalg.norm(points_FP3[:, 291, :2] - points_FP3[:, 61, :2], axis=1)
    return np.stack([np.maximum(gap, 0), width], axis=1)


@torch.no_grad()
def audio_features(pipeline: EmoPipeline, audio: Audio, count: int) -> Doubles:
    """(count, E) what the audio layers give to the UNet's blocks for each frame."""
    speech = pipeline.encode_audio(audio, fps=Fraction(FPS))
    windows = speech.windows(range(count), Fraction(FPS), pipeline.config.speech_window_tokens)
    projection, embedding = pipeline.unet.audio_projection, pipeline.unet.audio_embedding
    assert projection is not None
    assert embedding is not None
    tokens = projection(windows[None].to(pipeline.unet.dtype))
    return np.asarray(embedding.features(tokens)[0].double().cpu().numpy())


def read_out(
    features: Mapping[str, Doubles], curves: Mapping[str, Doubles], takes: Mapping[str, tuple[Audio, Doubles]]
) -> Figures:
    """r on takes that the fit has not seen: whole ones, frames that move alone, and clips of 4 s."""
    names, folds = list(curves), np.arange(len(curves))
    whole = [centred(features[name]) for name in names]
    targets = [centred(curves[name]) for name in names]
    active = [
        np.abs(takes[name][1] - np.median(takes[name][1], axis=0)).max(axis=1) > LEAST_SPREAD
        for name in names
    ]
    moving = [centred(each[on]) for each, on in zip(whole, active, strict=True)]
    other = [fitted_length(features[names[index - 1]], len(target)) for index, target in enumerate(targets)]
    by_take = unseen_correlations(whole, whole, targets, folds)
    figures: Figures = {
        "takes": dict(zip(names, by_take.tolist(), strict=True)),
        "mean": mean(by_take),
        "another take's sound": mean(
            unseen_correlations(whole, [centred(each) for each in other], targets, folds)
        ),
        "frames that move": mean(
            unseen_correlations(
                moving,
                moving,
                [centred(each[on]) for each, on in zip(targets, active, strict=True)],
                folds,
            )
        ),
    }
    clips = [
        (number, slice(start, start + SECONDS * FPS))
        for number, target in enumerate(targets)
        for start in range(0, len(target) - SECONDS * FPS + 1, SECONDS * FPS)
        if spread(target[start : start + SECONDS * FPS]) > LEAST_SPREAD
    ]
    folds = np.array([number for number, _ in clips])
    short = [centred(targets[number][part]) for number, part in clips]
    sound, others = ([centred(each[number][part]) for number, part in clips] for each in (whole, other))
    place = [centred(np.eye(SECONDS * FPS // BIN).repeat(BIN, axis=0))] * len(clips)
    figures["clips of 4 s"] = {
        "clips": len(clips),
        "sound": mean(unseen_correlations(sound, sound, short, folds)),
        "position alone": mean(unseen_correlations(place, place, short, folds)),
        "another take's sound": mean(unseen_correlations(sound, others, short, folds)),
    }
    return figures


def english_clips(bench: Bench) -> list[tuple[Doubles, Doubles]]:
    """(F, E) features and (F, M) measures of the training's speaker in clips that no training used."""
    clips = []
    for one in real_clips(bench)["GRID s1"].values():
        measures = mouth_measures(one.points_px)
        features = audio_features(bench.pipeline, one.audio.mono().resample(RATE_HZ), len(measures))
        seen = np.isfinite(measures).all(axis=1)
        clips.append((features[seen], measures[seen]))
    return clips


def transferred(
    features: Mapping[str, Doubles],
    curves: Mapping[str, Doubles],
    english: Sequence[tuple[Doubles, Doubles]],
    index: int,
) -> float:
    """Mean r over her takes by a fit that has seen the English speaker only."""
    column = MEASURES.index(CURVES[index])
    read = [*(centred(each) for each, _ in english), *(centred(each) for each in features.values())]
    targets = [
        *(centred(each[:, column]) for _, each in english),
        *(centred(each) for each in curves.values()),
    ]
    folds = np.array([0] * len(english) + [1] * len(curves))
    return mean(unseen_correlations(read, read, targets, folds)[len(english) :])


def in_videos(bench: Bench, takes: Mapping[str, tuple[Audio, Doubles]]) -> Figures:
    """The liveliest 4 s of each take on one stranger whose mouth is shut in the photo."""
    person = bench.strangers_by_rest[0][0]
    made, real = [], []
    for name, (audio, curves) in takes.items():
        starts = range(0, len(curves) - SECONDS * FPS, FPS)
        start = max(starts, key=lambda at: spread(curves[at : at + SECONDS * FPS, 0]))
        samples = audio.samples[:, start * RATE_HZ // FPS :][:, : SECONDS * RATE_HZ]
        seen = speaking(bench, person, f"{name}-{start}", Audio(samples, RATE_HZ))
        made.append(mouth_measures(seen.points_px))
        real.append(curves[start : start + SECONDS * FPS])
    return {
        name: asdict(
            correlate_beside_chance(
                [each[:, MEASURES.index(name)] for each in made], [each[:, index] for each in real]
            )
        )
        for index, name in enumerate(CURVES)
    }


def centred(values: Doubles) -> Doubles:
    return np.asarray(values - values.mean(axis=0))


def fitted_length(values: Doubles, length: int) -> Doubles:
    """The first `length` rows, from the start again where they end."""
    return np.resize(values, (length, *values.shape[1:]))
