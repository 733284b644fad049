"""A web socket that speaks: sound goes in while it is spoken, video comes out.

client: {"type": "start", "image_reference": "data:...", "sample_rate_hz": 16000, "format": "mp4", ...}
server: {"type": "started", "width": 512, "height": 512, "fps": 25.0, ...}
client: 16-bit PCM as binary messages; {"type": "interrupt"}; {"type": "emotion", ...}; {"type": "end"}
server: the video as binary messages; {"type": "ended", "num_frames": ...}
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, TimeoutError
from contextlib import contextmanager, suppress
from io import RawIOBase
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from openemo.errors import OpenEmoError
from openemo.serving.api.api_errors import ApiError, error_code
from openemo.serving.api.api_keys import ApiKey
from openemo.serving.api.video_request import of_data_url
from openemo.serving.api.video_service import VideoService
from openemo.settings import StrictModel, wrong_setting

if TYPE_CHECKING:
    from openemo.pipeline import EmoPipeline
    from openemo.pipeline.streaming import LiveStream

__all__ = ["LiveSockets"]

_log: Final = logging.getLogger(__name__)

_START_TIMEOUT_S: Final = 30.0
_SLOW_READER_S: Final = 10.0
_MOST_WAITING: Final = 64  # pieces of video that a client has not taken yet
_MOST_QUEUED_S: Final = 120.0  # of sound that is not spoken yet
_COUNT_EVERY_S: Final = 10.0
_REFUSED, _FAILED = 1008, 1011


class _Start(StrictModel):
    """The first message. Names and defaults are those of `EmoPipeline.stream`."""

    type: Literal["start"]
    image_reference: str
    sample_rate_hz: int = Field(16_000, ge=8_000, le=48_000)
    format: Literal["mp4", "mpegts", "rgb24"] = "mp4"
    realtime: bool = True
    lookahead_s: float = 0.1
    seed: int = 0
    framing: Literal["full", "crop"] = "crop"
    size_px: int | None = None
    fps: float | None = Field(None, ge=1, le=60)
    face_index: int | None = None
    emotion: str = "neutral"
    emotion_strength: float = 0.6
    head_motion: float | None = None
    lip_motion: float | None = None
    gaze: float | None = None
    brows: float | None = None
    expression: float | None = None
    blinks_per_minute: float | None = None
    consent: str | None = Field(None, min_length=1, max_length=4_000)


class _Interrupt(StrictModel):
    type: Literal["interrupt"]


class _Emotion(StrictModel):
    type: Literal["emotion"]
    emotion: str
    strength: float = 0.6


class _End(StrictModel):
    type: Literal["end"]


_MESSAGES: TypeAdapter[_Interrupt | _Emotion | _End] = TypeAdapter(
    Annotated[_Interrupt | _Emotion | _End, Field(discriminator="type")]
)
_NO_OPTIONS: Final = {"type", "image_reference", "format", "consent"}


class LiveSockets:
    """All sockets of a server. They share one pipeline, which a thread loads.

    Args:
        most: at a time.
    """

    def __init__(self, service: VideoService, load: Callable[[], EmoPipeline], most: int) -> None:
        self._service, self._most, self._open = service, most, 0
        self._pipeline: Future[EmoPipeline] = Future()
        threading.Thread(target=self._load, args=(load,), name="openemo-live", daemon=True).start()

    @property
    def is_ready(self) -> bool:
        return self._pipeline.done() and self._pipeline.exception() is None

    async def serve(self, socket: WebSocket) -> None:
        """One socket, from its first message to its end."""
        try:
            key = await run_in_threadpool(self._service.admit, socket)
            slot = self._slot()
            slot.__enter__()
        except ApiError as error:
            await socket.send_denial_response(error.answer())
            return
        try:
            await socket.accept()
            await self._talk(socket, key)
        except WebSocketDisconnect:
            pass
        except OpenEmoError as error:
            await _say_error(socket, error)
        except Exception:
            _log.exception("a live socket failed")
            await _say_error(socket, ApiError(500, "server_error", "an error that nobody foresaw"))
        finally:
            slot.__exit__(None, None, None)

    async def _talk(self, socket: WebSocket, key: ApiKey) -> None:
        start = await _first_message(socket)
        settings = self._service.settings
        if settings.require_consent and start.consent is None:
            raise ApiError(400, "consent_required", "there is no statement of consent", param="consent")
        if start.size_px is not None and start.size_px > settings.max_size_px:
            expected = f"at most {settings.max_size_px} px"
            raise ApiError(400, "invalid_option", "the size is out of range", expected=expected)
        picture = of_data_url("image_reference", start.image_reference)
        options = {
            name: value for name, value in start.model_dump(exclude=_NO_OPTIONS).items() if value is not None
        }
        pipeline = self._pipeline.result()
        stream = await run_in_threadpool(pipeline.stream, picture, limits=settings.limits, **options)
        talk = _Talk(socket, stream, start, lambda seconds: self._service.store.use(key, seconds))
        await talk.run(settings.max_job_s)

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self.is_ready:
            raise ApiError(503, "not_ready", "the networks are not loaded yet", retry_after_s=5)
        if self._open >= self._most:
            raise ApiError(429, "too_many_requests", "too many live streams at a time", retry_after_s=10)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _load(self, load: Callable[[], EmoPipeline]) -> None:
        try:
            self._pipeline.set_result(load())
        except Exception as error:
            _log.exception("live streams cannot be served")
            self._pipeline.set_exception(error)


class _Talk:
    """One stream: messages come in a task, frames are made in a thread, and go from here."""

    def __init__(
        self, socket: WebSocket, stream: LiveStream, start: _Start, use: Callable[[float], None]
    ) -> None:
        self._socket, self._stream, self._start, self._use = socket, stream, start, use
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_WAITING)
        self._is_over = threading.Event()
        self._failure: OpenEmoError | None = None
        self._num_frames = 0

    async def run(self, most_s: float) -> None:
        """Raises OpenEmoError for a wrong message, and for what the stream raises."""
        stream, end_s = self._stream, time.monotonic() + most_s
        told = {"width": stream.width, "height": stream.height, "fps": float(stream.fps)}
        more = {"seed": stream.seed, "format": self._start.format, "warnings": list(stream.warnings)}
        await self._socket.send_json({"type": "started", **told, **more})
        making = asyncio.ensure_future(run_in_threadpool(self._make))
        receiving = asyncio.create_task(self._receive())
        try:
            while (piece := await self._pieces.get()) is not None:
                await self._socket.send_bytes(piece)
                if time.monotonic() > end_s:
                    raise ApiError(400, "took_too_long", "the stream is too long", expected=f"{most_s:g} s")
            await making
            if self._failure is not None:
                raise self._failure
            await self._socket.send_json({"type": "ended", "num_frames": self._num_frames})
            await self._socket.close()
        finally:
            self._is_over.set()
            stream.close()
            receiving.cancel()
            with suppress(asyncio.QueueEmpty):  # the thread may wait for room
                while True:
                    self._pieces.get_nowait()
            with suppress(Exception):
                await making

    async def _receive(self) -> None:
        """Until the client ends or goes."""
        try:
            while True:
                message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    self._stream.close()
                    return
                if message.get("bytes") is not None:
                    self._hear(message["bytes"])
                else:
                    self._obey(_MESSAGES.validate_json(message["text"]))
        except ValidationError as error:
            wrong = wrong_setting(error)
            self._failure = ApiError(
                400, "invalid_message", f"a message is wrong: `{wrong.name[:100]}`", expected=wrong.expected
            )
        except OpenEmoError as error:
            self._failure = error
        self._stream.close()

    def _hear(self, sound: bytes) -> None:
        if self._stream.queued_s > _MOST_QUEUED_S:
            raise ApiError(
                400, "too_far_ahead", "too much sound is not spoken yet", expected=f"{_MOST_QUEUED_S:g} s"
            )
        self._stream.send(sound)

    def _obey(self, message: _Interrupt | _Emotion | _End) -> None:
        match message:
            case _Interrupt():
                self._stream.interrupt()
            case _Emotion():
                self._stream.set_emotion(message.emotion, message.strength)
            case _End():
                self._stream.end()

    def _make(self) -> None:
        """In a thread: frames, encoded, to the queue."""
        from openemo.video.live_writer import open_live_writer

        stream, counted = self._stream, 0
        try:
            with stream:
                writer = open_live_writer(
                    cast("BinaryIO", _Pieces(self._put)),
                    self._start.format,
                    fps=stream.fps,
                    width=stream.width,
                    height=stream.height,
                    sample_rate_hz=stream.sample_rate_hz,
                )
                for frame in stream:
                    writer.write(frame.image, frame.samples)
                    self._num_frames += 1
                    if (self._num_frames - counted) / stream.fps >= _COUNT_EVERY_S:
                        self._use(float((self._num_frames - counted) / stream.fps))
                        counted = self._num_frames
                self._use(float((self._num_frames - counted) / stream.fps))
                writer.close()
        finally:
            with suppress(OSError, TimeoutError):
                self._put(None)

    def _put(self, piece: bytes | None) -> None:
        """Waits for a client that is slower than the stream, for a while."""
        if self._is_over.is_set():
            raise BrokenPipeError("nobody reads any more")
        try:
            asyncio.run_coroutine_threadsafe(self._pieces.put(piece), self._loop).result(_SLOW_READER_S)
        except TimeoutError as error:
            raise BrokenPipeError("the client reads too slowly") from error


class _Pieces(RawIOBase):
    """What the writer writes to."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._put(bytes(data))
        return len(data)


async def _first_message(socket: WebSocket) -> _Start:
    try:
        text = await asyncio.wait_for(socket.receive_text(), _START_TIMEOUT_S)
        return _Start.model_validate(json.loads(text))
    except TimeoutError as error:
        raise ApiError(408, "request_timeout", "no first message came") from error
    except ValidationError as error:
        wrong = wrong_setting(error)
        raise ApiError(
            400,
            "invalid_message",
            f"the first message is wrong: `{wrong.name[:100]}`",
            expected=wrong.expected,
        ) from error
    except (ValueError, KeyError, RecursionError) as error:
        raise ApiError(400, "invalid_message", "the first message is no JSON object") from error


async def _say_error(socket: WebSocket, error: OpenEmoError) -> None:
    code = error.code if isinstance(error, ApiError) else error_code(error)
    with suppress(RuntimeError, WebSocketDisconnect):  # it has gone
        await socket.send_json({"type": "error", "error": {"code": code, "message": str(error)}})
        await socket.close(_FAILED if code == "server_error" else _REFUSED)
