"""Writes frames and sound to a pipe while they come: MPEG-TS, fragmented MP4, or raw frames."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO, Final, Literal, Self

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from openemo.errors import OutputError

__all__ = ["LIVE_FORMATS", "LiveFormat", "LiveWriter", "open_live_writer"]

LiveFormat = Literal["mpegts", "mp4", "rgb24"]
LIVE_FORMATS: Final = ("mpegts", "mp4", "rgb24")

# Without delay: no frame waits for a later one, neither in the encoder nor in the muxer.
_H264: Final = {"preset": "superfast", "tune": "zerolatency", "crf": "20"}
_KEY_FRAME_S: Final = 1  # who tunes in waits no longer
_MUXERS: Final = {
    "mpegts": {},
    # A fragment for each frame or two. One for each packet is read wrongly at key frames.
    "mp4": {"movflags": "frag_custom+empty_moov+default_base_moof+delay_moov", "frag_duration": "60000"},
}
# A muxer sorts packets of sound and picture by time, and waits for the one that is missing: not here.
_AT_ONCE: Final = {"max_interleave_delta": "1", "flush_packets": "1"}
_BITS_PER_S: Final = 96_000
_RATE_HZ: Final = 48_000  # a block of AAC lasts 21 ms at this rate, and 64 ms at 16 kHz


class LiveWriter:
    """H.264 and AAC, each frame with its sound, for readers that start before the end.

    Args:
        file: gets the bytes; it need not be seekable.
        sample_rate_hz: of the sound; None for a video without sound.

    Raises:
        OutputError: a frame has another size, or nobody reads any more.
    """

    def __init__(
        self,
        file: BinaryIO,
        kind: Literal["mpegts", "mp4"] = "mpegts",
        *,
        fps: Fraction,
        width: int,
        height: int,
        sample_rate_hz: int | None,
    ) -> None:
        self._shape = (height, width, 3)
        self._fps, self._rate_hz = fps, sample_rate_hz
        self._num_frames = self._num_samples = 0
        # FFmpeg must not try to seek.
        self._container = av.open(_Pipe(file), "w", format=kind, options=_MUXERS[kind] | _AT_ONCE)
        self._video = self._add_video(width, height)
        self._audio: av.AudioStream | None = None
        self._resampler: av.AudioResampler | None = None
        if sample_rate_hz is not None:
            stream = self._container.add_stream("aac", rate=_RATE_HZ, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = _BITS_PER_S
            self._audio = stream
            self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=_RATE_HZ)

    def write(self, frame: npt.NDArray[np.uint8], samples: npt.NDArray[np.float32] | None = None) -> None:
        """Appends a frame (height, width, 3) and the sound (num_samples,) until the next one."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            got = f"{frame.dtype} of shape {frame.shape}"
            raise OutputError("wrong kind of frame", got=got, expected=f"uint8 of {self._shape}")
        if samples is not None and len(samples):
            self._write_sound(samples)
        self._mux(self._video, self._picture(frame))
        self._num_frames += 1

    def close(self) -> None:
        """Writes what the encoders hold back."""
        for stream in (self._audio, self._video):
            if stream is not None:
                self._mux(stream, None)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    def _add_video(self, width: int, height: int) -> av.VideoStream:
        every = max(1, round(_KEY_FRAME_S * self._fps))
        stream = self._container.add_stream("libx264", rate=self._fps, options={**_H264, "g": str(every)})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self._fps
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return stream

    def _picture(self, frame: npt.NDArray[np.uint8]) -> av.VideoFrame:
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BILINEAR,
        )
        picture.pts, picture.time_base, picture.duration = self._num_frames, 1 / self._fps, 1
        return picture

    def _write_sound(self, samples: npt.NDArray[np.float32]) -> None:
        assert self._audio is not None
        assert self._resampler is not None
        assert self._rate_hz is not None
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "fltp", "mono")
        piece.sample_rate = self._rate_hz
        piece.pts, piece.time_base = self._num_samples, Fraction(1, self._rate_hz)
        self._num_samples += len(samples)
        for resampled in self._resampler.resample(piece):
            self._mux(self._audio, resampled)

    def _mux(self, stream: Any, frame: av.VideoFrame | av.AudioFrame | None) -> None:
        try:
            for packet in stream.encode(frame):
                self._container.mux(packet)
        except (av.FFmpegError, OSError) as error:
            raise OutputError("the stream cannot be written", got=str(error)) from error


class _Pipe:
    """A file without `seek`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        written = self._file.write(data)
        self._file.flush()
        return written


class RawWriter:
    """Frames as bytes, (height, width, 3) RGB one after the other; the sound is left out."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, frame: npt.NDArray[np.uint8], samples: npt.NDArray[np.float32] | None = None) -> None:
        try:
            self._file.write(np.ascontiguousarray(frame).tobytes())
            self._file.flush()
        except OSError as error:
            raise OutputError("the stream cannot be written", got=str(error)) from error

    def close(self) -> None: ...


def open_live_writer(
    file: BinaryIO, kind: LiveFormat, *, fps: Fraction, width: int, height: int, sample_rate_hz: int | None
) -> LiveWriter | RawWriter:
    """The writer of a format."""
    if kind == "rgb24":
        return RawWriter(file)
    return LiveWriter(file, kind, fps=fps, width=width, height=height, sample_rate_hz=sample_rate_hz)
