"""The part "visemes": whether each sound has a shape of its own, with voices whose phones are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.portrait_life.bench import RATE_HZ, Bench, Figures
from benchmarks.portrait_mouth.people import Stranger, speaking
from benchmarks.portrait_mouth.rule_drawing import drawn_points
from openemo.arrays import Doubles
from openemo.audio.audio_reader import Audio
from openemo.data.mouth_shapes import SpeakerStyle, load_shapes, speaking_points
from openemo.data.speech_synthesis import Phone, Utterance, load_synthesizer
from openemo.data.spoken import load_utterance, save_utterance
from openemo.data.visemes import VISEMES, Articulation, articulate, loudness_gains, viseme_of
from openemo.evaluation.metrics.chance_correlation import correlate_beside_chance
from openemo.evaluation.metrics.frame_statistics import spread
from openemo.evaluation.metrics.viseme_shapes import (
    MEASURES,
    NearestTargets,
    mean_shapes,
    mouth_measures,
    nearest_target,
    nearest_targets,
    rescaled,
    standardised,
)
from openemo.face.analyzer import Face

FPS = 25.0
Sounds = tuple[list[str], Doubles]
# Not among the sentences of the training data. Every kind of sound, in six languages.
SENTENCES = {
    "en-us": (
        "The farmer's wife saw a blue boat by the beach.",
        "Her father thinks you chose the right shoes.",
    ),
    "es": ("La mujer joven busca una zapatería barata.", "Mi vecino toma un café fuerte por la tarde."),
    "fr": ("Une feuille jaune tombe sur la plume du peintre.", "Ton ami veut du beurre et un peu de jus."),
    "it": (
        "Il pescatore vende molluschi e baccalà al porto.",
        "Mia sorella scrive una lunga lettera a Paolo.",
    ),
    "pt-br": ("O professor jovem fala baixo com a menina.", "A família de Pedro viaja no fim de maio."),
    "hi": ("मेरी दादी रोज़ सुबह मंदिर जाती हैं।", "आप भी हमारे साथ फ़िल्म देखने चलिए।"),
}
# Sounds that look alike are one kind. Pauses and the soft b of Spanish are left out.
KINDS = {
    "m b p": "m b p", "f v": "f v", "th": "tongue", "t d n l": "tongue", "k g h": "tongue", "uh": "tongue",
    "r": "r", "s z": "s z", "sh": "sh", "w": "u w", "u": "u w", "y": "y", "j": "i j", "i": "i j",
    "ih": "e", "e": "e", "a": "a", "o": "o",
}  # fmt: skip
# Heights of the lips and depth are not: the landmark network reads next to nothing of them in frames.
USED = [MEASURES.index(name) for name in ("opening", "width", "corners")]


@dataclass(frozen=True, eq=False)
class Spoken:
    """One video with what was said and what the rule of the training data would do on this face.

    Attributes:
        made_FM, rule_FM: see `mouth_measures`. full: of each viseme held alone, (M,).
        drawn_FM: the rule's own motion as it is read in frames, see `drawn_points`.
    """

    phones: Sequence[Phone]
    made_FM: Doubles
    rule_FM: Doubles
    drawn_FM: Doubles
    full: Mapping[str, Doubles]


def visemes(bench: Bench) -> Figures:
    """Mean shape of the mouth in each kind of sound, and the kind whose target is nearest.

    Three strangers, two sentences in each of six languages by synthetic voices. Measures are opening, width
    and corners, standardised by person. The targets are the rule of the training data on the same face and
    sentences, with coarticulation; "full" are visemes held alone. Beside it: the rule itself, as read in
    frames that it moved; the phones of another sentence; the mean of the other sentences' frames at the same
    position.
    """
    voices = utterances(bench)
    shapes = load_shapes(bench.shared / "expressions/ict_basis.npz")
    people, styles = {}, SpeakerStyle()
    for person in people_of(bench):
        face = bench.pipeline.prepare_portrait(person[1]).face
        full = {name: held(face, name, shapes, styles) for name in VISEMES}
        people[person[0].stem] = [
            spoken(bench, person, name, voice, face, shapes, styles, full) for name, voice in voices.items()
        ]
    figures = shares(people)
    (bench.output / "visemes.md").write_text(table(figures), encoding="utf-8")
    return figures


def people_of(bench: Bench) -> list[Stranger]:
    """Two whose mouth is shut in the photo, and one who smiles with teeth."""
    shut, wide = bench.strangers_by_rest
    return [*shut[:2], *wide[:1]]


def utterances(bench: Bench) -> dict[str, Utterance]:
    """The sentences, each in one of the synthesizer's voices; made once."""
    folder, found = bench.output / "utterances", {}
    folder.mkdir(parents=True, exist_ok=True)
    synthesizer = None
    for number, language in enumerate(SENTENCES):
        for turn, sentence in enumerate(SENTENCES[language]):
            path = folder / f"{language}-{turn}.wav"
            if not path.exists():
                synthesizer = synthesizer or load_synthesizer()
                voice = synthesizer.voices[(number + 3 * turn) % len(synthesizer.voices)]
                save_utterance(synthesizer(sentence, language, {voice: 1.0}, 1.0), path)
            found[path.stem] = load_utterance(path)
    return found


def sound_of(utterance: Utterance) -> Audio:
    return Audio(utterance.samples[None].astype(np.float32), RATE_HZ)


def spoken(
    bench: Bench,
    person: Stranger,
    name: str,
    utterance: Utterance,
    face: Face,
    shapes: Mapping[str, Doubles],
    style: SpeakerStyle,
    full: Mapping[str, Doubles],
) -> Spoken:
    seen = speaking(bench, person, name, sound_of(utterance))
    times_s: Doubles = (np.arange(len(seen.points_px), dtype=np.float64) + 0.5) / FPS
    asked = articulate(utterance.phones, loudness_gains(utterance.phones, utterance.samples), times_s)
    moved_px = speaking_points(face.points_px, asked, shapes, style)
    return Spoken(
        utterance.phones,
        mouth_measures(seen.points_px),
        mouth_measures(with_depth(moved_px, face)),
        mouth_measures(drawn_points(bench, person, name, moved_px)),
        full,
    )


def held(face: Face, name: str, shapes: Mapping[str, Doubles], style: SpeakerStyle) -> Doubles:
    """(M,) the face with one viseme, without neighbours."""
    one = VISEMES[name]
    asked = Articulation(np.array([one.target]), np.array([float(one.shut)]), np.array([float(one.tucked)]))
    return np.asarray(
        mouth_measures(with_depth(speaking_points(face.points_px, asked, shapes, style), face))[0]
    )


def with_depth(points_FP2: np.ndarray, face: Face) -> np.ndarray:
    depth_FP1 = np.broadcast_to(face.points_px[None, :, 2:], (*points_FP2.shape[:2], 1))
    return np.concatenate([points_FP2, depth_FP1], axis=2)


def shares(people: Mapping[str, Sequence[Spoken]]) -> Figures:
    """Shares over people and kinds, by kind, and which targets are nearest; beside them what chance gives."""
    rows: Figures = {}
    for against in ("rule", "full"):
        for row, read in READINGS.items():
            found = [nearest(videos, read(videos), against) for videos in people.values()]
            rows[f"{row}, {against}"] = {
                "kinds": float(np.mean([kinds.own_share for kinds, _ in found])),
                "kinds, rescaled": float(
                    np.mean(
                        [
                            nearest(videos, read(videos), against, True)[0].own_share
                            for videos in people.values()
                        ]
                    )
                ),
                "single sounds": float(
                    np.mean([said == seen for _, single in found for said, seen in single])
                ),
            }
    ours = [nearest(videos, own(videos), "rule") for videos in people.values()]
    names = ours[0][0].kinds
    means = [pair for kinds, _ in ours for pair in zip(kinds.kinds, kinds.nearest, strict=True)]
    return {
        "people": len(people),
        "chance": 1 / len(names),
        "shares": rows,
        "means read as": counts(means, names),
        "sounds read as": counts([pair for _, single in ours for pair in single], names),
        "measures": measures(people),
    }


def counts(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> Figures:
    """How often each kind was nearest to each target."""
    return {kind: {name: pairs.count((kind, name)) for name in names} for kind in names}


def own(videos: Sequence[Spoken]) -> Sounds:
    return sounds(videos, [one.made_FM for one in videos])


def by_position(videos: Sequence[Spoken]) -> Sounds:
    """Each frame is the mean of the other sentences' frames at this position."""
    length = max(len(one.made_FM) for one in videos)
    padded = np.stack(
        [np.pad(one.made_FM, ((0, length - len(one.made_FM)), (0, 0)), mode="edge") for one in videos]
    )
    return sounds(videos, list((padded.sum(axis=0) - padded) / (len(videos) - 1)))


def other_sentence(videos: Sequence[Spoken]) -> Sounds:
    """The frames of another sentence at the phones of this one."""
    return sounds(videos, [one.made_FM for one in (*videos[1:], videos[0])])


def by_rule(videos: Sequence[Spoken]) -> Sounds:
    return sounds(videos, [one.rule_FM for one in videos])


def by_drawn_rule(videos: Sequence[Spoken]) -> Sounds:
    return sounds(videos, [one.drawn_FM for one in videos])


READINGS = {
    "ours": own,
    "the rule itself": by_rule,
    "the rule, drawn": by_drawn_rule,
    "position alone": by_position,
    "another sentence": other_sentence,
}


def sounds(videos: Sequence[Spoken], frames: Sequence[Doubles]) -> Sounds:
    """Kind of each sound and the mouth in its middle, (P, M), standardised over all frames."""
    kinds, shapes = [], []
    for one, frames_FM in zip(videos, frames, strict=True):
        for phone in one.phones:
            kind, frame = KINDS.get(viseme_of(phone.symbol)), FPS * (phone.start_s + phone.end_s) / 2 - 0.5
            if phone.symbol and kind and 0 <= frame <= len(frames_FM) - 1:
                kinds.append(kind)
                shapes.append(
                    [np.interp(frame, np.arange(len(frames_FM)), track) for track in frames_FM.T[USED]]
                )
    return kinds, standardised(np.array(shapes), np.concatenate(frames)[:, USED])


def nearest(
    videos: Sequence[Spoken], read: Sounds, against: str, is_rescaled: bool = False
) -> tuple[NearestTargets, list[tuple[str, str]]]:
    """Of one person's kinds, and of each single sound with its kind, the target that is nearest."""
    kinds, shapes_PM = read
    asked, rule_PM = by_rule(videos)
    targets = mean_shapes(rule_PM, asked)
    if against == "full":
        rule = np.concatenate([one.rule_FM for one in videos])[:, USED]
        held_alone = {name: standardised(shape[USED], rule) for name, shape in videos[0].full.items()}
        targets = {
            kind: np.mean([held_alone[name] for name in KINDS if KINDS[name] == kind], axis=0)
            for kind in targets
        }
    single = [
        (kind, nearest_target(shape, targets))
        for kind, shape in zip(kinds, shapes_PM, strict=True)
        if kind in targets and np.isfinite(shape).all()
    ]
    means = mean_shapes(shapes_PM, kinds)
    return nearest_targets(rescaled(means, targets) if is_rescaled else means, targets), single


def measures(people: Mapping[str, Sequence[Spoken]]) -> Figures:
    """Of each measure: r with the rule over frames beside position and another sentence, and spreads."""
    figures: Figures = {}
    videos = [one for each in people.values() for one in each]
    for index, name in enumerate(MEASURES):
        made = [one.made_FM[:, index] for one in videos]
        rule = [one.rule_FM[:, index] for one in videos]
        depth = name == "protrusion"  # the rule moves no depth, but rounding narrows the mouth
        asked = [-one.rule_FM[:, MEASURES.index("width")] for one in videos] if depth else rule
        figures[name] = asdict(correlate_beside_chance(made, asked)) | {
            "spread": float(np.mean([spread(one) for one in made]))
        }
    return figures


def table(figures: Figures) -> str:
    """Markdown."""
    lines = [
        f"{figures['people']} strangers, {len(SENTENCES)} languages. Share of the kinds whose mean "
        f"mouth is nearest to its own target (goal .80; chance {figures['chance']:.2f}); of single sounds.",
        "",
        "| | kinds | with the targets' spread | single sounds |",
        "|---|---|---|---|",
        *(
            f"| {row} | {f['kinds']:.2f} | {f['kinds, rescaled']:.2f} | {f['single sounds']:.2f} |"
            for row, f in figures["shares"].items()
        ),
        "",
        "| kind | own target, people | single sounds | nearest targets of single sounds |",
        "|---|---|---|---|",
    ]
    for kind, row in figures["sounds read as"].items():
        total, means = max(sum(row.values()), 1), figures["means read as"][kind]
        often = sorted((name for name in row if row[name]), key=lambda name: -row[name])[:4]
        lines.append(
            f"| {kind} | {means[kind]} of {sum(means.values())}"
            + "".join(f", {name} {count}" for name, count in means.items() if count and name != kind)
            + f" | {row[kind] / total:.2f} of {total} | "
            + ", ".join(f"{name} {row[name]}" for name in often)
            + " |"
        )
    lines += [
        "",
        "| measure | r with the rule | position alone | another sentence | spread | over the rule's |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {f['r']:.2f} | {f['position_r']:.2f} | {f['other_sound_r']:.2f} | {f['spread']:.4f} "
        f"| {f['spread_ratio']:.2f} |"
        for name, f in figures["measures"].items()
    ]
    return "\n".join(lines) + "\n"
