"""Where the sound of a live stream comes from, and where its frames go."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

import numpy as np

from openemo.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from openemo.pipeline.streaming import LiveFrame, LiveStream
    from openemo.video.live_writer import LiveFormat

__all__ = ["Source", "Target", "open_target"]

_BLOCK_S: Final = 0.02
_BYTES: Final = 2  # of a sample
_READER_IS_GONE: Final = (errno.EPIPE, errno.ECONNRESET)
_TITLE: Final = "openemo live"
_QUIT_KEYS: Final = (27, ord("q"))  # Escape

Write = Callable[["LiveFrame"], bool]
"""Shows a frame; False when nobody looks any more."""


class Source:
    """Sound of a microphone or of standard input. What is needed for it is checked when it is opened.

    Raises:
        ConfigError: there is no microphone, or nothing is piped in.
    """

    def __init__(self, kind: Literal["stdin", "microphone"], sample_rate_hz: int) -> None:
        self._kind, self._rate_hz = kind, sample_rate_hz
        self._devices: Any = None

    @classmethod
    @contextmanager
    def open(cls, kind: Literal["stdin", "microphone"], sample_rate_hz: int) -> Iterator[Source]:
        source = cls(kind, sample_rate_hz)
        if kind == "microphone":
            source._devices = _sound_devices()
        elif sys.stdin is None or sys.stdin.isatty():
            raise ConfigError(
                "no sound comes from standard input",
                got="a terminal",
                fix="Pipe 16-bit PCM into the command, or take `--from microphone`",
            )
        yield source

    @contextmanager
    def sending_to(self, stream: LiveStream) -> Iterator[None]:
        """While the block runs, sound is sent as it comes."""
        if self._devices is None:
            # A daemon: it may wait for sound for ever.
            threading.Thread(target=self._read, args=(stream,), name="openemo-stdin", daemon=True).start()
            yield
            return

        def send(data: Any, *_: object) -> None:
            stream.send(bytes(data))

        try:
            microphone = self._devices.RawInputStream(
                samplerate=self._rate_hz,
                blocksize=round(_BLOCK_S * self._rate_hz),
                channels=1,
                dtype="int16",
                callback=send,
            )
        except self._devices.PortAudioError as error:
            raise ConfigError(
                "the microphone cannot be opened", got=str(error), fix="Choose another `--sample-rate-hz`"
            ) from error
        with microphone:
            yield

    def _read(self, stream: LiveStream) -> None:
        rest = b""
        descriptor = sys.stdin.fileno()
        most = max(_BYTES, round(_BLOCK_S * self._rate_hz) * _BYTES)
        with suppress(OSError):
            while data := os.read(descriptor, most):
                data = rest + data
                whole = len(data) // _BYTES * _BYTES
                stream.send(data[:whole])
                rest = data[whole:]
        stream.end()


class Target:
    """Where frames go.

    Args:
        showing: opens it for a stream.
    """

    def __init__(self, showing: Callable[[LiveStream], AbstractContextManager[Write]]) -> None:
        self.showing = showing


@contextmanager
def open_target(kind: Literal["stdout", "window", "camera"], output_format: LiveFormat) -> Iterator[Target]:
    """Checks that there is such a target.

    Raises:
        ConfigError: there is none. OutputError: standard output is a terminal.
    """
    if kind == "window":
        _check_window()
        yield Target(_window)
    elif kind == "camera":
        module = _import("pyvirtualcam", "a virtual camera needs pyvirtualcam", "pip install pyvirtualcam")
        yield Target(lambda stream: _camera(module, stream))
    else:
        out = sys.__stdout__
        if out is None or out.isatty():
            raise OutputError(
                "the video would be printed on a terminal",
                fix="Pipe it into a player, redirect it into a file, or take `--to window`",
            )
        out.flush()
        with os.fdopen(os.dup(out.fileno()), "wb", buffering=0) as file:
            yield Target(lambda stream: _pipe(cast(BinaryIO, file), output_format, stream))


@contextmanager
def _pipe(file: BinaryIO, output_format: LiveFormat, stream: LiveStream) -> Iterator[Write]:
    from openemo.video.live_writer import open_live_writer

    writer = open_live_writer(
        file,
        output_format,
        fps=stream.fps,
        width=stream.width,
        height=stream.height,
        sample_rate_hz=stream.sample_rate_hz,
    )
    is_gone = False

    def write(frame: LiveFrame) -> bool:
        nonlocal is_gone
        try:
            writer.write(frame.image, frame.samples)
        except OutputError as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno in _READER_IS_GONE):
                raise
            is_gone = True
        return not is_gone

    yield write
    if not is_gone:
        writer.close()


@contextmanager
def _window(stream: LiveStream) -> Iterator[Write]:
    import cv2

    def write(frame: LiveFrame) -> bool:
        cv2.imshow(_TITLE, frame.image[..., ::-1])
        is_open = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
        return cv2.waitKey(1) not in _QUIT_KEYS and is_open

    cv2.namedWindow(_TITLE, cv2.WINDOW_AUTOSIZE)
    yield write
    cv2.destroyAllWindows()


@contextmanager
def _camera(module: Any, stream: LiveStream) -> Iterator[Write]:
    try:
        camera = module.Camera(width=stream.width, height=stream.height, fps=float(stream.fps))
    except RuntimeError as error:
        raise ConfigError("there is no virtual camera", got=str(error)) from error

    def write(frame: LiveFrame) -> bool:
        camera.send(np.ascontiguousarray(frame.image))
        return True

    with camera:
        yield write


def _check_window() -> None:
    import cv2

    has_display = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if "GUI:                           NONE" in cv2.getBuildInformation() or not has_display:
        got = "this OpenCV was built without windows" if has_display else "no display"
        raise ConfigError(
            "a window cannot be opened",
            got=got,
            fix="Pipe the video into a player such as ffplay, or install opencv-python",
        )


def _sound_devices() -> Any:
    return _import("sounddevice", "a microphone needs sounddevice", "pip install 'openemo[live]'")


def _import(name: str, what: str, fix: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(what, got="it is not installed", fix=fix) from error
    except OSError as error:  # a library of the system is missing
        raise ConfigError(what, got=str(error), fix="Install PortAudio, such as libportaudio2") from error
