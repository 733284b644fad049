"""Videos that are made one after the other in a thread of its own, watched and stopped from others."""

from __future__ import annotations

import io
import logging
import queue
import secrets
import shutil
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from PIL import Image as Pillow

from openemo.decoding_limits import DecodingLimits
from openemo.errors import ConfigError, OpenEmoError
from openemo.pipeline.inputs import to_inputs
from openemo.serving.time_estimate import TimeEstimate
from openemo.video.images import contact_sheet, write_image
from openemo.video.transparency import on_white

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline
    from openemo.pipeline.output import Animation, Frame

__all__ = ["FORMATS", "VideoJob", "VideoMaker", "preview_jpeg"]

_log = logging.getLogger(__name__)

State = Literal["waiting", "working", "done", "failed", "cancelled"]
FORMATS: Final = ("mp4", "webm", "gif", "webp")  # that browsers show

_MAX_WAITING: Final = 16
_PREVIEW_PX, _PREVIEW_EVERY_S = 384, 0.4
_SHEET_FRAMES, _SHEET_COLUMNS, _SHEET_CELL_PX = 12, 4, 240
_PORTRAIT_PX: Final = 1024
_WARM_UP: Final = {"framing": "crop", "size_px": 512}
_WARM_UP_S: Final = 0.48


class _StoppedError(Exception):
    """Somebody cancelled."""


@dataclass(eq=False)
class VideoJob:
    """One video: what was asked, and how far it is.

    Attributes:
        portrait, audio: files.
        options: further arguments of the pipeline's call.
        kind: ending of the video, one of `FORMATS`.
        folder: its files; deleted unless it is done.
        error: why it failed. warnings: what the user should know.
        done, total: frames. preview: the last frame as JPEG.
        is_trial: only the start of it is made, to see how long it takes.
    """

    portrait: Path
    audio: Path
    options: dict[str, Any]
    kind: str
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "waiting"
    error: OpenEmoError | None = None
    warnings: tuple[str, ...] = ()
    done: int = 0
    total: int = 0
    width: int = 0
    height: int = 0
    duration_s: float = 0.0
    seed: int = 0
    preview: bytes | None = None
    started_s: float | None = None
    seconds: float = 0.0
    is_trial: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @property
    def files(self) -> dict[str, Path]:
        """What a finished job has, by the name in its address."""
        return {
            name: self.folder / name
            for name in (f"video.{self.kind}", "portrait.jpg", "sheet.jpg", "poster.jpg")
        }

    @property
    def seconds_left(self) -> float | None:
        """By the speed so far; None before the first frame."""
        if not self.done or self.started_s is None:
            return None
        return (time.monotonic() - self.started_s) / self.done * (self.total - self.done)

    def cancel(self) -> None:
        """It ends at its next frame, or at its next denoising step."""
        self._stop.set()

    def check(self, *_: object) -> None:
        """Raises if it was cancelled."""
        if self._stop.is_set():
            raise _StoppedError


class VideoMaker:
    """Makes videos with one pipeline, one at a time, because each takes all cores.

    Args:
        folder: gets a folder for each job.
        limits: of the files.
    """

    def __init__(
        self, pipeline: EmoPipeline, folder: Path, *, limits: DecodingLimits, estimate: TimeEstimate
    ) -> None:
        self.pipeline, self.limits, self.estimate = pipeline, limits, estimate
        self._folder = folder
        self._jobs: queue.SimpleQueue[VideoJob | None] = queue.SimpleQueue()
        self._waiting: list[VideoJob] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="openemo-videos", daemon=True)
        self._thread.start()

    def warm_up(self, portrait: Path, audio: Path) -> None:
        """Queue very short videos that nobody sees, for the time that this machine needs. The first one also
        loads libraries; the last one counts.
        """
        for name in ("first", "second"):
            job = VideoJob(portrait, audio, _WARM_UP, "mp4", self._folder / name, is_trial=True)
            with self._lock:
                self._waiting.append(job)
            self._jobs.put(job)

    def submit(self, portrait: Path, audio: Path, kind: str, options: dict[str, Any]) -> VideoJob:
        """Queue a video.

        Raises:
            ConfigError: unknown format, or too many videos wait.
        """
        if kind not in FORMATS:
            raise ConfigError("unknown `format`", got=repr(kind), expected=", ".join(FORMATS))
        with self._lock:
            if len(self._waiting) >= _MAX_WAITING:
                raise ConfigError(
                    "too many videos wait already", got=len(self._waiting), fix="Try again in a few minutes"
                )
            job = VideoJob(portrait, audio, options, kind, self._folder / secrets.token_hex(16))
            self._waiting.append(job)
        self._jobs.put(job)
        return job

    @property
    def num_waiting(self) -> int:
        """Videos that are not over, the one in the making included."""
        with self._lock:
            return len(self._waiting)

    def num_before(self, job: VideoJob) -> int:
        """Videos that are made before this one, the one in the making included."""
        with self._lock:
            return self._waiting.index(job) if job in self._waiting else 0

    def close(self) -> None:
        """Cancel all, and wait for the end of the one in the making."""
        with self._lock:
            for job in self._waiting:
                job.cancel()
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.state = self._state_after(job)
            if job.state != "done" or job.is_trial:
                shutil.rmtree(job.folder, ignore_errors=True)
            with self._lock:
                self._waiting.remove(job)

    def _state_after(self, job: VideoJob) -> State:
        try:
            job.check()
            job.folder.mkdir(mode=0o700)
            job.state = "working"
            self._make(job)
            job.check()
        except _StoppedError:
            return "cancelled"
        except OpenEmoError as error:
            job.error = error
            return "failed"
        except Exception as error:
            _log.exception("a video failed")
            job.error = OpenEmoError(
                "an error that nobody foresaw",
                got=f"{type(error).__name__}: {error}",
                fix="Try another picture or voice, and report what the program printed",
            )
            return "failed"
        return "done"

    def _make(self, job: VideoJob) -> None:
        start_s = time.monotonic()
        portrait, sound = to_inputs(job.portrait, job.audio, limits=self.limits)
        job.check()
        if job.is_trial:
            short = sound.samples[:, : round(_WARM_UP_S * sound.sample_rate_hz)]
            sound = replace(sound, samples=short)
        animation = self.pipeline(portrait, sound, limits=self.limits, **job.options)
        animation = replace(animation, origin=animation.origin.with_files(job.portrait, job.audio))
        job.warnings, job.seed, job.total = animation.warnings, animation.seed, animation.num_frames
        job.width, job.height, job.duration_s = animation.width, animation.height, animation.duration_s
        job.check()
        shown = self._write(job, animation)
        write_image(job.files["sheet.jpg"], contact_sheet(shown, _SHEET_COLUMNS, _SHEET_CELL_PX))
        write_image(job.files["poster.jpg"], shown[0])
        write_image(job.files["portrait.jpg"], _small(portrait, _PORTRAIT_PX))
        job.seconds = time.monotonic() - start_s
        self.estimate.learn(job.total, job.width, job.height, job.seconds)

    def _write(self, job: VideoJob, animation: Animation) -> list[Frame]:
        """Writes the video. Returns some of its frames, from the first to nearly the last."""
        shown: list[Frame] = []
        every = -(-animation.num_frames // _SHEET_FRAMES)
        next_s = job.started_s = time.monotonic()
        frames = animation.written(job.files[f"video.{job.kind}"], progress=job.check)
        with closing(frames):
            for number, frame in enumerate(frames):
                job.check()
                job.done = number + 1
                if number % every == 0:
                    shown.append(_small(frame, _SHEET_CELL_PX * 2))
                if time.monotonic() >= next_s:
                    job.preview = preview_jpeg(frame)
                    next_s = time.monotonic() + _PREVIEW_EVERY_S
        return shown


def preview_jpeg(image: Frame, longest_px: int = _PREVIEW_PX) -> bytes:
    """The picture, made smaller, as JPEG."""
    buffer = io.BytesIO()
    Pillow.fromarray(_small(image, longest_px)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _small(image: Frame, longest_px: int) -> Frame:
    """(h, w, 3), no longer than that."""
    opaque = on_white(image) if image.shape[2] == 4 else image
    picture = Pillow.fromarray(opaque)
    picture.thumbnail((longest_px, longest_px), Pillow.Resampling.BICUBIC)
    return np.array(picture)
