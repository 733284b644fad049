"""Measures one clip: makes the videos of its rows, observes and scores them, and writes the records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from openemo.audio.audio_reader import Audio, read_audio
from openemo.errors import FaceError, InputError
from openemo.evaluation import rows
from openemo.evaluation.benchmark_clips import Clip
from openemo.evaluation.jobs import EvaluationSettings, Job, jobs_of, require_video
from openemo.evaluation.metrics.av_offset import picture_delay_ms
from openemo.evaluation.metrics.registry import score
from openemo.evaluation.observation import Observation
from openemo.evaluation.records import Inputs, Record, read_record, write_json, write_record
from openemo.evaluation.set_metrics import MOTION_TRACKS, motion_tracks, write_features
from openemo.evaluation.tools import Tools, load_tools
from openemo.face.landmarks import mouth_opening
from openemo.video.video_reader import probe

__all__ = ["measure_clip", "recorded"]

# A finished video of another clip shows another person. Only its motion can be compared with this clip.
_OF_MOTION: Final = ("lip_", "sync_")
_WITH_SILENCE: Final = (rows.MODEL, rows.VIDEOS, rows.SILENCE)


def measure_clip(settings: EvaluationSettings, clip: Clip) -> str | None:
    """Measure what is not recorded yet. Returns why the clip cannot be measured, or None."""
    try:
        todo = [job for job in jobs_of(settings, clip) if read_record(job.record, job.inputs) is None]
        if todo:
            _ClipMeasurement(settings, clip, load_tools(settings)).run(todo)
    except InputError as error:
        return str(error)
    return None


def recorded(settings: EvaluationSettings, clip: Clip) -> dict[tuple[str, int], Record]:
    """The records of a measured clip by (row, seed). Rows without seeds have seed 0."""
    found = {}
    for job in jobs_of(settings, clip):
        record = read_record(job.record, job.inputs)
        assert record is not None, f"{job.record} was just written"
        found[job.row, job.seed] = record
    return found


class _ClipMeasurement:
    """The work on one clip. What several rows need is observed once."""

    def __init__(self, settings: EvaluationSettings, clip: Clip, tools: Tools) -> None:
        self.settings, self.clip, self.tools = settings, clip, tools
        self.real = tools.observer.file(clip.path)
        if self.real.audio is None:
            raise InputError(f"{clip.name} has no sound", expected="a clip of someone who speaks")
        self.audio: Audio = self.real.audio
        if not self.real.has_face[0]:
            raise FaceError(f"no face in the first frame of {clip.name}", expected="the portrait to animate")
        self.portrait = self.real.first()
        self._silence: dict[int, Observation] = {}

    def run(self, todo: list[Job]) -> None:
        jobs = {(job.row, job.seed): job for job in jobs_of(self.settings, self.clip)}
        for job in todo:
            made, extra = self._made(job)
            silent_job = jobs.get((rows.SILENCE, job.seed)) if job.row in _WITH_SILENCE else None
            silence = None if silent_job is None else self._silent(silent_job)
            values = score(made, self.real, portrait=self.portrait, silence=silence, sync=self.tools.sync)
            if job.row == rows.MISMATCHED and self.settings.videos is not None:
                values = {key: value for key, value in values.items() if key.startswith(_OF_MOTION)}
            record = Record(
                inputs=job.inputs,
                values={key: _number(value) for key, value in (values | extra).items()},
                opening=[_number(value) for value in made.curve(mouth_opening)],
                fps=made.fps,
            )
            features = {kind.key: kind.extract(made) for kind in self.tools.features}
            write_features(job.record, features | {MOTION_TRACKS: motion_tracks(made)})
            write_record(job.record, record)  # last, because it says that the rest is there

    def _silent(self, job: Job) -> Observation:
        """The video of digital silence, with the clip's sound. Two rows need it; it is observed once."""
        if job.seed not in self._silence:
            if job.video is None:
                made = self._finished(job.row)
            else:
                self._make(job)
                made = replace(self.tools.observer.file(job.video), audio=self.audio)
            self._silence[job.seed] = made
        return self._silence[job.seed]

    def _made(self, job: Job) -> tuple[Observation, dict[str, float]]:
        """The video of the row with the sound to measure it with, and figures of making it."""
        if job.row == rows.REAL:
            return self.real, {}
        if job.row == rows.FROZEN:
            return rows.frozen(self.real), {}
        if job.row == rows.SILENCE:
            return self._silent(job), {}
        if job.video is None:
            return self._finished(job.row), self._delay(job.row)
        cost = self._make(job)
        made = self.tools.observer.file(job.video)
        if job.row == rows.MODEL:
            return made, cost | {"picture_delay_ms": picture_delay_ms(job.video)}
        return replace(made, audio=self.audio), {}

    def _finished(self, row: str) -> Observation:
        """A finished video. It keeps its own sound in the row "videos": a delay in the file is its fault."""
        made = self.tools.observer.file(require_video(self.settings, self.clip, row))
        return made if row == rows.VIDEOS and made.audio is not None else replace(made, audio=self.audio)

    def _delay(self, row: str) -> dict[str, float]:
        """`picture_delay_ms` of a finished video; nothing for other rows."""
        if row != rows.VIDEOS:
            return {}
        return {"picture_delay_ms": picture_delay_ms(require_video(self.settings, self.clip, row))}

    def _make(self, job: Job) -> dict[str, float]:
        """Make the video of the job unless it exists. Returns the cost, now or of then."""
        assert job.video is not None
        assert job.making is not None
        assert self.tools.pipeline is not None
        note = job.video.with_suffix(".made.json")
        if job.video.is_file() and (known := _read_note(note, job.making)) is not None:
            return known
        job.video.parent.mkdir(parents=True, exist_ok=True)
        cost = rows.make_video(
            self.tools.pipeline,
            self.real.frames[0],
            self._voice(job.row),
            job.video,
            fps=probe(self.clip.path).fps,
            seed=job.seed,
        )
        write_json(note, {"inputs": job.making, "cost": cost})
        return cost

    def _voice(self, row: str) -> Audio:
        """The sound that drives the row."""
        if row == rows.SILENCE:
            return rows.silence_like(self.audio)
        if row == rows.MISMATCHED:
            assert self.clip.voice is not None
            return rows.as_long_as(read_audio(self.clip.voice), self.audio)
        return self.audio


def _read_note(path: Path, making: Inputs | None) -> dict[str, float] | None:
    """The cost of the video beside it; None if it is missing, damaged, or of a video of other inputs."""
    try:
        known = json.loads(path.read_bytes())
        return (
            {key: float(cost) for key, cost in known["cost"].items()} if known["inputs"] == making else None
        )
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def _number(value: float) -> float | None:
    """Rounded to seven significant digits, more than any figure has; None for NaN and infinity."""
    return float(f"{value:.7g}") if np.isfinite(value) else None
