"""The part "song": whether the mouth is wide where it is loud, holds long notes, and shuts afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction

import numpy as np

from benchmarks.portrait_life.bench import RATE_HZ, SHUT, Bench, Figures, Portraits, passages
from benchmarks.portrait_life.recordings import Recording
from benchmarks.portrait_mouth.people import opening_of, speaking
from benchmarks.portrait_mouth.visemes import FPS, sound_of, utterances
from openemo.arrays import Doubles
from openemo.audio.audio_reader import Audio
from openemo.audio.prosody import Prosody, measure_prosody
from openemo.evaluation.metrics.chance_correlation import correlate_beside_chance
from openemo.evaluation.metrics.frame_statistics import mean, spread

SECONDS, PASSAGES = 4.0, 6
LONG_S, STEADY = 0.4, 1.0  # of a note; semitones from one frame to the next
STOP_S, AFTER_S = 1.6, 1.0  # of speech, then of silence
QUIET_DB = -30.0


def song(bench: Bench) -> Figures:
    """A song of 24 s on one stranger in passages of 4 s, and speech cut off before a second of silence.

    loud_is_wide: the opening against the loudness. held: least opening in the middle of a long note over the
    most in that note. shut_s: from the end of the sound to the first frame in which the lips meet and stay.
    """
    person = bench.strangers_by_rest[0][0]
    voices = passages(bench.voice("singing/antagata_dokosa.flac"), SECONDS)[:PASSAGES]
    sung = [speaking(bench, person, f"song-{number}", voice) for number, voice in enumerate(voices)]
    openings = [opening_of(one) for one in sung]
    heard = [prosody_of(one, len(opening)) for one, opening in zip(sung, openings, strict=True)]
    spoken = [
        opening_of(speaking(bench, person, name, sound_of(voice)))
        for name, voice in utterances(bench).items()
    ]
    return {
        "loud_is_wide": asdict(correlate_beside_chance(openings, [one.loudness_db_F for one in heard])),
        "sung": heights(openings),
        "spoken": heights(spoken),
        "held": held_notes(openings, heard),
        "silence": after_the_sound(bench),
    }


def prosody_of(one: Recording, count: int) -> Prosody:
    return measure_prosody(one.audio).at(count, Fraction(FPS))


def heights(openings: Sequence[Doubles]) -> Figures:
    """Of all frames together."""
    together = np.concatenate(openings)
    seen = together[np.isfinite(together)]
    low, usual, high, top = np.percentile(seen, (5, 50, 95, 99)).tolist()
    return {"spread": spread(seen), "p5": low, "p50": usual, "p95": high, "p99": top}


def held_notes(openings: Sequence[Doubles], heard: Sequence[Prosody]) -> Figures:
    """Notes of at least 0.4 s: voiced, loud, their pitch steady."""
    kept, most = [], []
    for opening, sound in zip(openings, heard, strict=True):
        for start, stop in notes(sound):
            quarter = (stop - start) // 4
            highest = float(np.nanmax(opening[start:stop]))
            kept.append(
                float(np.nanmin(opening[start + quarter : stop - quarter])) / highest if highest else 0.0
            )
            most.append(highest)
    return {"notes": len(kept), "share_held": mean(np.array(kept)), "highest": mean(np.array(most))}


def notes(sound: Prosody) -> list[tuple[int, int]]:
    """First and last frame + 1 of each."""
    steady = np.abs(np.diff(sound.pitch_semitones_F, prepend=sound.pitch_semitones_F[:1])) < STEADY
    is_note = sound.is_voiced_F & steady & (sound.loudness_db_F > QUIET_DB)
    edges = np.flatnonzero(np.diff(np.pad(is_note, 1).astype(int))).reshape(-1, 2)
    return [(int(a), int(b)) for a, b in edges if b - a >= LONG_S * FPS]


def after_the_sound(bench: Bench) -> Figures:
    """Until the mouth is shut, for people with a shut and with an open mouth in the photo."""
    shut, wide = bench.strangers_by_rest
    figures: Figures = {"goal_s": 0.2}
    for name, people in (("shut", shut[:2]), ("open", wide[:2])):
        times = stopping_times(bench, people)
        seen = [time for time in times if np.isfinite(time)]
        figures[name] = {
            "videos": len(times),
            "never": len(times) - len(seen),
            "shut_s": {
                "median": float(np.median(seen)) if seen else float("nan"),
                "most": max(seen, default=float("nan")),
            },
            "each": times,
        }
    return figures


def stopping_times(bench: Bench, people: Portraits) -> list[float]:
    """Sentences cut where they are loud, so that the mouth is open; infinite where it never shuts."""
    times = []
    for number, person in enumerate(people):
        for name, utterance in list(utterances(bench).items())[number::4]:
            voice = cut_off(sound_of(utterance))
            opening = opening_of(speaking(bench, person, f"{name}-stop", voice))
            times.append(shut_after(opening, (voice.num_samples / RATE_HZ - AFTER_S) * FPS))
    return times


def cut_off(voice: Audio) -> Audio:
    """Speech up to the loudest moment about 1.6 s from its start, then silence."""
    samples = voice.samples[0]
    power = np.convolve(samples**2, np.ones(800) / 800, "same")
    first, last = (round((STOP_S + offset) * RATE_HZ) for offset in (-0.4, 0.2))
    stop = first + int(np.argmax(power[first:last]))
    fade = np.linspace(1, 0, 80)  # 5 ms: no click
    spoken = samples[:stop] * np.concatenate([np.ones(stop - 80), fade])
    return Audio(np.pad(spoken, (0, round(AFTER_S * RATE_HZ)))[None].astype(np.float32), RATE_HZ)


def shut_after(opening: Doubles, end_frame: float) -> float:
    """Seconds from the end of the sound to the middle of the first frame from which on the lips stay shut."""
    open_frames = np.flatnonzero(~(opening < SHUT))
    first = int(open_frames[-1]) + 1 if len(open_frames) else 0
    return max(0.0, (first + 0.5 - end_frame) / FPS) if first < len(opening) else float("inf")
