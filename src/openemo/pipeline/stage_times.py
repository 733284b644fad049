"""Where the processor time of a video goes: the nine steps one after the other, and the networks apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from openemo.audio import Audio
from openemo.pipeline.emo import EmoPipeline
from openemo.pipeline.output import Frame
from openemo.pipeline.sampling import ClipPlan
from openemo.timing import parse_fps
from openemo.video.video_writer import VideoWriter

__all__ = ["StageTime", "stage_times"]

_COUNTING: Final = "counting"


@dataclass(frozen=True, slots=True)
class StageTime:
    """A row of the profile.

    Attributes:
        seconds: of processor time, of all threads.
        flop: of a network, multiplications and additions; 0 where nothing is counted.
        is_per_video: done once, however long the video is.
    """

    name: str
    seconds: float
    flop: int
    is_per_video: bool


def stage_times(
    pipeline: EmoPipeline, image: Frame, audio: Audio, path: Path, *, size_px: int | None = None
) -> list[StageTime]:
    """Make a video, in one thread at a time, and say what each stage took.

    Args:
        path: the video is written there.
    """
    clock = _Clock(pipeline)
    engine = pipeline.engine
    pipeline.engine = clock.engine
    try:
        frames = list(_frames(pipeline, image, audio, size_px, clock))
    finally:
        pipeline.engine = engine
    height, width = frames[0].shape[:2]
    fps = parse_fps(pipeline.config.fps)
    with (
        clock("encoding"),
        VideoWriter(path, fps=fps, width=width, height=height, audio=audio) as writer,
    ):
        for frame in frames:
            writer.write(frame)
    return clock.rows()


def _frames(
    pipeline: EmoPipeline, image: Frame, audio: Audio, size_px: int | None, clock: _Clock
) -> Iterator[Frame]:
    """As `EmoPipeline` does it."""
    config, generator = pipeline.config, torch.Generator("cpu").manual_seed(0)
    plan = ClipPlan.of(pipeline.num_frames(audio, parse_fps(config.fps)), config)
    with clock("1 portrait", is_per_video=True):
        portrait = pipeline.prepare_portrait(image, size_px=size_px)
    with clock("2 audio", is_per_video=True):
        speech = pipeline.encode_audio(audio)
    with clock("3 reference, layers", is_per_video=True):
        reference = pipeline.encode_reference(portrait)
    with clock("4 behaviour", is_per_video=True):
        behaviour = pipeline.prepare_behaviour(audio, portrait)
    pipeline.engine = clock.plain_engine  # its calls of the networks belong to no frame
    with clock("4 lip motion", is_per_video=True):
        reference = pipeline.prepare_lip_motion(audio, portrait, speech, reference)
    pipeline.engine = clock.engine
    latents = None
    for clip in plan.clips:
        numbers = range(clip.start, clip.start + plan.clip_frames)
        with clock("5, 6 conditions"):
            motion_frames = pipeline.prepare_motion_frames(reference, latents)
            conditions = pipeline.prepare_conditions(
                reference, speech, numbers, motion_frames_BCNHW=motion_frames, behaviour=behaviour
            )
        with clock("7 scheduler"):
            latents = pipeline.denoise_clip(conditions, motion_frames, generator=generator, plan=plan)
        for first in range(clip.start, clip.stop, pipeline.decode_frames):
            last = min(first + pipeline.decode_frames, clip.stop)
            part, acts = latents[:, :, first - clip.start : last - clip.start], behaviour.frames(first, last)
            with clock("8 moved picture, eyes, mouth"):
                crops = pipeline.decode(part, reference, acts)
            with clock("9 composite, moved head"):
                yield from list(pipeline.composite(crops, portrait, pipeline.head_motion(part, acts)))


class _Clock:
    """Adds up the processor time of stages; what runs within another stage is taken out of it."""

    def __init__(self, pipeline: EmoPipeline) -> None:
        self.plain_engine = pipeline.engine
        self._seconds: dict[str, float] = {}
        self._per_video: set[str] = set()
        self._flop: dict[str, list[int]] = {}  # of a call, and calls
        self._within = [0.0]

    @contextmanager
    def __call__(self, name: str, *, is_per_video: bool = False) -> Iterator[None]:
        start = time.process_time()
        self._within.append(0.0)
        try:
            yield
        finally:
            spent = time.process_time() - start
            self._seconds[name] = self._seconds.get(name, 0.0) + spent - self._within.pop()
            self._within[-1] += spent
            if is_per_video:
                self._per_video.add(name)

    def engine(self, network: nn.Module) -> Callable[..., Any]:
        """The pipeline's own, with a clock. Before the first call FLOP are counted, and it may compile."""
        name, run = type(network).__name__, self.plain_engine(network)

        def timed(*args: Any, **kwargs: Any) -> Any:
            if name not in self._flop:
                with self(_COUNTING), FlopCounterMode(display=False) as counter:
                    network(*args, **kwargs)
                with self(_COUNTING):
                    run(*args, **kwargs)
                self._flop[name] = [counter.get_total_flops(), 0]
            self._flop[name][1] += 1
            with self(name):
                return run(*args, **kwargs)

        return timed

    def rows(self) -> list[StageTime]:
        return [
            StageTime(name, seconds, prod(self._flop.get(name, [0])), name in self._per_video)
            for name, seconds in self._seconds.items()
            if name != _COUNTING
        ]
