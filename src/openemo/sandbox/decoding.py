"""Starts decoding processes, and takes what they send."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from openemo.decoding_limits import DecodingLimits
from openemo.errors import AudioError, ImageError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from openemo.audio.audio_reader import Audio
    from openemo.video.clip_frames import TimedFrame
    from openemo.video.media_facts import MediaFacts

__all__ = ["AudioDecoding", "ClipDecoding", "FactsDecoding", "ImageDecoding"]

_PROGRAM: Final = "openemo.sandbox.decoder_process"
_MAX_HEADER_BYTES: Final = 2**20
_MAX_RATE_HZ: Final = 10**6
_WAY_OUT: Final = (
    "If the file is trustworthy, read it in this process: `--no-sandbox`, in Python `sandbox=False`"
)


class _Decoding:
    """One file being decoded by a process of its own. Leaving the `with` block ends it."""

    kind: str
    failure: type[InputError]

    def __init__(self, file: BinaryIO, name: str, limits: DecodingLimits, **request: object) -> None:
        """Starts decoding `file`, an open file of the system that nobody else reads meanwhile.

        Raises:
            InputError, as the class `failure`: no process can be started here.
        """
        self.name, self.limits = name, limits
        request |= {"kind": self.kind, "name": name, "limits": asdict(limits)}
        if not sys.executable or getattr(sys, "frozen", False):
            raise self._cannot_start("a program without a Python interpreter")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the program is this package's own
                [sys.executable, "-P", "-m", _PROGRAM, json.dumps(request)],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        except (OSError, ValueError) as error:
            raise self._cannot_start(str(error)) from error
        self._is_late = False
        self._timer = self._started_timer()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _header(self) -> dict[str, Any]:
        """The first line of the answer. Raises the error that the process sent, or that it ended of."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline(_MAX_HEADER_BYTES)
        if not line.endswith(b"\n"):
            raise self._wrong_answer() if len(line) == _MAX_HEADER_BYTES else self._ended()
        try:
            header = json.loads(line)
            for logger, text in header["notes"]:
                logging.getLogger(logger if logger.startswith("openemo.") else "openemo").warning("%s", text)
            error = header.get("error")
            reasons = error and {key: error.get(key) for key in ("what", "got", "expected", "fix")}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._wrong_answer() from error
        if reasons:
            what = reasons.pop("what") or f"{self.name} cannot be read"
            raise self.failure(str(what), **{key: value and str(value) for key, value in reasons.items()})
        return dict(header)

    def _values(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """What follows the header."""
        import numpy as np

        values = np.empty(shape, dtype)
        assert self._process.stdout is not None
        rest = values.reshape(-1).view(np.uint8).data
        while rest:
            size = self._process.stdout.readinto(rest)  # type: ignore[attr-defined]  # it is buffered
            if not size:
                raise self._ended()
            rest = rest[size:]
        return values

    def _started_timer(self) -> threading.Timer:
        timer = threading.Timer(self.limits.timeout_s, self._end_late)
        timer.daemon = True
        timer.start()
        return timer

    def _end_late(self) -> None:
        self._is_late = True
        self._process.kill()

    def _ended(self) -> InputError:
        code = self._process.wait()
        if self._is_late or -code in (getattr(signal, "SIGXCPU", 0), getattr(signal, "SIGALRM", 0)):
            return self.failure(
                f"{self.name} takes too long to decode",
                got=f"over {self.limits.timeout_s:g} s",
                fix=f"Convert it to a usual format. {_WAY_OUT}",
            )
        return self.failure(
            f"the process that decodes {self.name} ended early",
            got=_reason(code),
            fix=f"The file is damaged, or needs too much memory: convert it. {_WAY_OUT}",
        )

    def _wrong_answer(self) -> InputError:
        return self.failure(f"the process that decodes {self.name} sent a wrong answer", fix=_WAY_OUT)

    def _cannot_start(self, got: str) -> InputError:
        return self.failure(f"no process can be started that decodes {self.name}", got=got, fix=_WAY_OUT)


class ImageDecoding(_Decoding):
    """A picture being decoded, as `decode_image` does."""

    kind, failure = "image", ImageError

    def result(self) -> NDArray[np.uint8]:
        """Waits for the image: (H, W, 3 or 4) uint8. Raises ImageError."""
        match self._header().get("shape"):
            case [int(height), int(width), (3 | 4) as channels] if height > 0 < width:
                if height * width <= self.limits.max_pixels:
                    return self._values((height, width, channels), "uint8")
        raise self._wrong_answer()


class AudioDecoding(_Decoding):
    """A sound being decoded, as `decode_audio` does."""

    kind, failure = "audio", AudioError

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        limits: DecodingLimits,
        *,
        track: int | None = None,
        span_s: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(file, name, limits, track=track, span_s=span_s)

    def result(self) -> Audio:
        """Waits for the sound. Raises AudioError."""
        from openemo.audio.audio_reader import Audio

        header = self._header()
        match header.get("shape"), header.get("sample_rate_hz"):
            case [int(channels), int(length)], int(rate_hz) if (
                0 < channels <= 2 and 0 < rate_hz < _MAX_RATE_HZ
            ):
                if 0 <= length * channels * 4 <= self.limits.max_memory_bytes:
                    return Audio(self._values((channels, length), "float32"), rate_hz)
        raise self._wrong_answer()


class ClipDecoding(_Decoding):
    """A clip being decoded, as `decode_clip` does. The process waits where its frames are not taken."""

    kind, failure = "clip", InputError

    def __init__(
        self, file: BinaryIO, name: str, limits: DecodingLimits, *, max_s: float, start_s: float | None = None
    ) -> None:
        super().__init__(file, name, limits, max_s=max_s, start_s=start_s)
        self._start_s, self._max_s = start_s, max_s

    def frames(self) -> Iterator[TimedFrame]:
        """Waits for each frame, `timeout_s` at most. Raises InputError."""
        from openemo.video.clip_frames import CLOCK_STEP_S, MAX_CLIP_SIDE_PX, MIN_CLIP_STEP_S, TimedFrame

        soonest_s = self._start_s or 0.0
        step_s = 0.9 * (MIN_CLIP_STEP_S if self._start_s is None else CLOCK_STEP_S)
        while True:
            header = self._header()
            if header.get("is_end") is True:
                return
            match header.get("shape"), header.get("time_s"):
                case [int(height), int(width), 3], float(time_s) if (
                    0 < height <= MAX_CLIP_SIDE_PX >= width > 0 and soonest_s <= time_s < self._max_s
                ):
                    image = self._values((height, width, 3), "uint8")
                case _:
                    raise self._wrong_answer()
            self._timer.cancel()
            soonest_s = time_s + step_s
            yield TimedFrame(time_s, image)
            self._timer = self._started_timer()


class FactsDecoding(_Decoding):
    """The header of a video being read, as `read_facts` does."""

    kind, failure = "facts", InputError

    def result(self) -> MediaFacts:
        """Waits for it. Raises InputError."""
        from pydantic import TypeAdapter, ValidationError

        from openemo.video.media_facts import MediaFacts

        try:
            return TypeAdapter(MediaFacts).validate_python(self._header().get("facts"))
        except ValidationError as error:
            raise self._wrong_answer() from error


def _environment() -> dict[str, str]:
    """That of this process, with the same modules, and one thread for what needs no more."""
    package = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(package), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _reason(code: int) -> str:
    """Why a process ended, from its exit code."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"exit code {code}"
