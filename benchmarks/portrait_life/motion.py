"""The part "motion": how strangers move with several voices, beside real clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from benchmarks.portrait_life.bench import Bench, Figures
from benchmarks.portrait_life.goals import ROWS, is_reached, shown_goal
from benchmarks.portrait_life.recordings import Recording, of_clip, record
from openemo.audio.prosody import Prosody, measure_prosody
from openemo.evaluation.metrics.blink_timing import SeenEyes, blink_timing
from openemo.evaluation.metrics.frame_statistics import spread
from openemo.evaluation.metrics.life import head_speeds_deg_s, score_tracks
from openemo.evaluation.metrics.prosody_gain import (
    MOTIONS,
    DrivenClip,
    driven_motions,
    prosody_gain,
    sound_curves,
)
from openemo.evaluation.metrics.track_correlation import TrackCorrelations, track_correlations
from openemo.evaluation.rows import silence_like

Key = tuple[str, str]  # person and voice
Recordings = Mapping[Key, Recording]

SEED = 0  # of all videos: with one seed, people and voices must still differ
SILENT_PEOPLE = 5
POOLED = ("blinks_per_min", "blink_first_s", "blink_duration_s", "blink_interval_cv")
_AXES = ("yaw", "pitch", "roll")


def motion(bench: Bench) -> Figures:
    """Head, brows, gaze, blinks, mouth, torso over strangers and voices; medians over videos.

    Default settings, one seed. Beside it: the same in silence, and real clips. Position in the clip alone and
    another voice's sound stand beside what is predicted from the sound; unrelated videos stand beside those
    that share a voice or a person.
    """
    made = recordings(bench)
    figures = {"ours": set_figures(made), "ours, in silence": set_figures(silent_recordings(bench))}
    for name, clips in real_clips(bench).items():
        figures[name] = set_figures(clips)
    found: Figures = {
        "people": len({person for person, _ in made}),
        "voices": sorted({voice for _, voice in made}),
        "seconds": bench.extent.seconds,
        "sets": figures,
        "tracks": track_figures(made),
        "each": {f"{person} {voice}": video_figures(one) for (person, voice), one in made.items()},
    }
    (bench.output / "motion.md").write_text(table(found), encoding="utf-8")
    return found


def recordings(bench: Bench) -> Recordings:
    """Videos of all people with all voices."""
    found = {}
    for name, audio in bench.voices().items():
        for path, picture in bench.strangers():
            video = bench.video(path, name)
            make = partial(bench.pipeline, picture, audio, seed=SEED)
            found[path.stem, name] = record(make, audio, video, bench.pipeline.face_analyzer)
    return found


def silent_recordings(bench: Bench) -> Recordings:
    """Videos of a few people with digital silence."""
    silence = silence_like(next(iter(bench.voices().values())))
    found = {}
    for path, picture in bench.strangers()[:SILENT_PEOPLE]:
        video = bench.video(path, "silence")
        make = partial(bench.pipeline, picture, silence, seed=SEED)
        found[path.stem, "silence"] = record(make, silence, video, bench.pipeline.face_analyzer)
    return found


def real_clips(bench: Bench) -> dict[str, Recordings]:
    """The corpus's clips that no training used, and those of other folders that were given."""
    grid = bench.shared / "grid"
    held_out = yaml.safe_load(Path("benchmarks/grid_s1_held_out.yaml").read_text(encoding="utf-8"))["clips"]
    folders = {
        "GRID s1": [grid / "s1" / name for name in held_out],
        "GRID others": sorted((grid / "others").glob("*.mp4")),
        **{folder.name: sorted(folder.glob("*.mp4")) for folder in bench.clips},
    }
    return {
        name: {
            (clip.stem, clip.stem): of_clip(
                clip, bench.output / "real" / f"{name}-{clip.stem}.npz", bench.pipeline.face_analyzer
            )
            for clip in clips
        }
        for name, clips in folders.items()
    }


def video_figures(one: Recording) -> Figures:
    """The figures of one video."""
    tracks = one.tracks
    return (
        score_tracks(tracks)
        | {f"{region}_motion": speed for region, speed in one.speeds.items()}
        | {"mouth_spread": spread(tracks.mouth_opening_F)}
    )


def set_figures(made: Recordings) -> Figures:
    """Medians over videos, blinks of all videos together, and what follows the sound."""
    rows = [video_figures(one) for one in made.values()]
    voices = {key[1]: measure_prosody(one.audio) for key, one in made.items()}
    sounds = {key: voices[key[1]].at(len(one.points_px), Fraction(one.fps)) for key, one in made.items()}
    figures: Figures = {"videos": len(rows)}
    for key in rows[0]:
        values = np.array([row[key] for row in rows])
        seen = values[np.isfinite(values)]
        if key not in POOLED:
            quartiles = np.percentile(seen, (25, 50, 75)).tolist() if len(seen) else [float("nan")] * 3
            figures[key] = {"median": quartiles[1], "quartiles": quartiles[::2], "videos": len(seen)}
    for key, value in blink_figures(made, sounds).items():
        figures[key] = {"median": value, "videos": len(rows)}
    return figures | {"gain": gain_figures(made, sounds)}


def blink_figures(made: Recordings, sounds: Mapping[Key, Prosody]) -> dict[str, float]:
    timing = blink_timing(
        [
            SeenEyes(one.tracks.eye_opening_F, sounds[key].phrases_s[:, 1], one.fps)
            for key, one in made.items()
        ]
    )
    names = {"per_min": "blinks_per_min"}
    return {names.get(name, f"blink_{name}"): value for name, value in asdict(timing).items()}


def gain_figures(made: Recordings, sounds: Mapping[Key, Prosody]) -> Figures:
    """`prosody_gain` of each motion; voices that the fit has not seen."""
    motions = {key: driven_motions(one.tracks) for key, one in made.items()}
    figures = {}
    for name in MOTIONS:
        clips = [
            DrivenClip(motions[key][name], sound_curves(sounds[key]), key[1], one.fps)
            for key, one in made.items()
        ]
        found = prosody_gain(clips)
        figures[name] = {
            "position_r": found.position.value,
            "sound_r": found.sound.value,
            "other_sound_r": found.other_sound.value,
            "gain": found.gain.value,
            "interval": [found.gain.low, found.gain.high],
            "by_voice": found.gain_by_voice if len(found.gain_by_voice) <= len(made) / 2 else {},
        }
    return figures


def track_figures(made: Recordings) -> Figures:
    """Correlations of head tracks and of the head's speed between people and between voices."""
    heads = {key: one.tracks.head_deg_F3 for key, one in made.items()}
    curves: dict[str, dict[Key, np.ndarray]] = {
        axis: {key: head[:, column] for key, head in heads.items()} for column, axis in enumerate(_AXES)
    }
    curves["speed"] = {key: head_speeds_deg_s(head, made[key].fps) for key, head in heads.items()}
    return {name: _as_figures(track_correlations(tracks)) for name, tracks in curves.items()}


def _as_figures(found: TrackCorrelations) -> Figures:
    return asdict(found)


def table(found: Figures) -> str:
    """Markdown: a row for each figure, columns for goals, ours and real clips."""
    sets: dict[str, Figures] = found["sets"]
    lines = [
        f"{found['people']} strangers, {len(found['voices'])} voices, {found['seconds']:g} s each, "
        f"seed {SEED}, default settings. Medians over videos [quartiles]; lengths in face widths. "
        "Speakers on stages and EMO's demos were measured by another program and compare in size only.",
        "",
        "| | goal | reached | " + " | ".join(sets) + " | stages | EMO's demos |",
        "|---|---|---|" + "---|" * (len(sets) + 2),
    ]
    for row in ROWS:
        cells = [_cell(figures[row.key]) for figures in sets.values()]
        reached = is_reached(row, sets["ours"][row.key]["median"])
        lines.append(
            f"| {row.title} | {shown_goal(row)} | {reached} | "
            + " | ".join(cells)
            + f" | {row.stages} | {row.emo} |"
        )
    lines += ["", *_gain_table(sets), "", *_track_table(found["tracks"])]
    return "\n".join(lines) + "\n"


def _cell(figure: Figures) -> str:
    if not np.isfinite(figure["median"]):
        return "-"
    quartiles = figure.get("quartiles")
    spread_text = f" [{_short(quartiles[0])}-{_short(quartiles[1])}]" if quartiles else ""
    return _short(figure["median"]) + spread_text


def _gain_table(sets: Mapping[str, Figures]) -> list[str]:
    lines = [
        "Correlation of a motion with what is predicted for voices that the fit has not seen. The gain is "
        "that of position and sound over position alone, with its interval over videos; its goal is above 0.",
        "",
        "| | set | position alone | position and sound | another clip's sound | gain |",
        "|---|---|---|---|---|---|",
    ]
    for motion_name in MOTIONS:
        for name, figures in sets.items():
            gain = figures["gain"][motion_name]
            if gain["gain"] is None:
                continue
            low, high = gain["interval"]
            interval = f" [{low:+.3f}, {high:+.3f}]" if low is not None else ""
            lines.append(
                f"| {motion_name} | {name} | {gain['position_r']:.3f} | {gain['sound_r']:.3f} "
                f"| {gain['other_sound_r']:.3f} | {gain['gain']:+.3f}{interval} |"
            )
    return lines


def _track_table(tracks: Figures) -> list[str]:
    lines = [
        "Correlation between the tracks of two videos of one seed: mean (mean size). The goal is under 0.1, "
        "and sizes like those of unrelated videos, which are chance unless the seed alone decides.",
        "",
        "| | two people, one voice | one person, two voices | unrelated |",
        "|---|---|---|---|",
    ]
    for name, found in tracks.items():
        cells = [
            f"{found[pairs]['mean']:+.3f} ({found[pairs]['mean_size']:.3f})"
            for pairs in ("one_voice", "one_person", "unrelated")
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _short(value: float) -> str:
    return f"{value:.3g}"
