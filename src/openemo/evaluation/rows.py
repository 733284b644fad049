"""The rows of the table: references beside the model, without which its figures mean nothing."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from openemo.audio.audio_reader import Audio
from openemo.evaluation.observation import Observation
from openemo.pipeline.output import Frame
from openemo.video.video_writer import VideoWriter

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline

__all__ = [
    "FROZEN",
    "MISMATCHED",
    "MODEL",
    "REAL",
    "ROW_TITLES",
    "SILENCE",
    "VIDEOS",
    "as_long_as",
    "frozen",
    "make_video",
    "silence_like",
]

REAL, FROZEN, MISMATCHED, SILENCE = "real", "frozen", "mismatched", "silence"
MODEL, VIDEOS = "model", "videos"

ROW_TITLES: Final = {
    REAL: "the real clip, measured against itself",
    FROZEN: "the first frame, never moving",
    MISMATCHED: "driven by another clip's voice, measured with this one's",
    SILENCE: "driven by digital silence, measured with the clip's voice",
    MODEL: "driven by the clip's voice",
    VIDEOS: "finished videos",
}

_CLEAR_REFS: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")
_RESET_PEAK: Final = "5"  # proc(5)


def frozen(real: Observation) -> Observation:
    """The first frame for the length of the clip, as from a model that does nothing."""
    count = len(real)
    points, blendshapes, embeddings = (
        np.repeat(values[:1], count, axis=0) for values in (real.points_px, real.blendshapes, real.embeddings)
    )
    return replace(
        real,
        frames=real.frames[:1] * count,
        points_px=points,
        blendshapes=blendshapes,
        embeddings=embeddings,
    )


def silence_like(audio: Audio) -> Audio:
    """Digital silence of the length and sample rate of `audio`."""
    return Audio(np.zeros_like(audio.samples), audio.sample_rate_hz)


def as_long_as(audio: Audio, other: Audio) -> Audio:
    """`audio` cut or padded with silence to the duration of `other`."""
    length = round(Fraction(other.num_samples * audio.sample_rate_hz, other.sample_rate_hz))
    cut = audio.samples[:, :length]
    return Audio(np.pad(cut, ((0, 0), (0, length - cut.shape[1]))), audio.sample_rate_hz)


def make_video(
    pipeline: EmoPipeline, portrait: Frame, audio: Audio, path: Path, *, fps: Fraction, seed: int
) -> dict[str, float]:
    """Animate the whole picture `portrait` into the file `path`.

    The sound is PCM if the file's ending allows it, because AAC's delay would count as the model's.

    Returns:
        speed_s_per_s: seconds of work per second of video, with encoding, without loading.
        speed_first_frame_s: time from the call to the first frame.
        speed_peak_memory_mb: peak memory of the process, or of the device if it is CUDA.
    """
    reset_peak_memory(pipeline)
    start_s = time.perf_counter()
    animation = pipeline(portrait, audio, seed=seed, fps=fps, framing="full")
    frames = iter(animation)
    first = next(frames)
    first_frame_s = time.perf_counter() - start_s
    with VideoWriter(
        path, fps=animation.fps, width=animation.width, height=animation.height, audio=audio
    ) as video:
        for frame in _chain(first, frames):
            video.write(frame)
    taken_s = time.perf_counter() - start_s
    return {
        "speed_s_per_s": taken_s / animation.duration_s,
        "speed_first_frame_s": first_frame_s,
        "speed_peak_memory_mb": peak_memory_mb(pipeline),
    }


def reset_peak_memory(pipeline: EmoPipeline) -> None:
    """Forget the peak of earlier videos, if the system can (Linux, CUDA)."""
    if pipeline.unet.device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(pipeline.unet.device)
    elif _CLEAR_REFS.exists():
        _CLEAR_REFS.write_text(_RESET_PEAK)


def peak_memory_mb(pipeline: EmoPipeline) -> float:
    """Megabytes (10^6 bytes): allocated on a CUDA device, otherwise resident in this process."""
    if pipeline.unet.device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(pipeline.unet.device) / 1e6
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _chain(first: Frame, rest: Iterator[Frame]) -> Iterator[Frame]:
    yield first
    yield from rest
