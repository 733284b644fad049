"""Writes frames and audio to a video file. No incomplete file is left behind."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from openemo.audio.audio_reader import Audio
from openemo.errors import OpenEmoError, OutputError
from openemo.files import partial_file, try_to_write
from openemo.timing import frame_to_sample

__all__ = ["VideoWriter", "check_output_path"]

_AUDIO_CODECS: Final = {".mp4": "aac", ".mov": "pcm_s16le", ".mkv": "pcm_s16le"}
# AAC rates that players support, too.
_AAC_RATES_HZ: Final = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_BITS_PER_S_AND_CHANNEL: Final = 96_000
_PIECE_SAMPLES: Final = 1_024
_REASONS: Final = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space or choose another folder"),
    errno.EFBIG: ("the file is larger than allowed here", "Choose another folder or a smaller size"),
    errno.EACCES: ("no permission to write", "Choose another folder or change its permissions"),
    errno.EPERM: ("no permission to write", "Choose another folder or change its permissions"),
    errno.EROFS: ("the file system is read-only", "Choose another folder"),
    errno.ENAMETOOLONG: ("the file name is too long", "Choose a shorter name"),
}


def check_output_path(path: str | Path) -> None:
    """Checks early whether a video can be written to `path`; changes nothing.

    Raises:
        OutputError: unknown file type, missing or unwritable folder, or the target is a folder or
            write-protected.
    """
    path = Path(path)
    if path.suffix.lower() not in _AUDIO_CODECS:
        expected = "a name that ends in " + ", ".join(_AUDIO_CODECS)
        raise OutputError("unknown kind of video file", got=path.name, expected=expected)
    folder = _target(path).parent
    try:
        if not folder.is_dir():
            raise OutputError(f"there is no folder {folder}", fix=f"Make it: mkdir -p {folder}")
        if path.is_dir():
            raise OutputError(f"{path} is a folder", expected="the name of a file")
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"{path} is write-protected", fix="Choose another name")
        # Permission bits do not tell about read-only and full file systems; only a trial does.
        try_to_write(folder)
    except OSError as error:
        raise _output_error(path, error) from error


class VideoWriter:
    """Writes a video: H.264 4:2:0 in BT.709, with AAC in .mp4 and 16-bit PCM in .mov and .mkv.

        with VideoWriter("out.mp4", fps=Fraction(25), width=512, height=512, audio=audio) as writer:
            for frame in frames:
                writer.write(frame)

    Frame k is shown from k / fps. The audio starts with the first frame and is always written completely,
    whatever the number of frames. AAC's priming is declared, so that players and `read_audio` drop it. 4:2:0
    needs even sides: an odd width or height grows by one repeated column or row.

    The video is written to a hidden file beside the target. It replaces the target when the block ends
    without an error. Any exception, also KeyboardInterrupt, deletes it and leaves the target as it was.
    A symbolic link stays, and the file that it points to is replaced.

    Args:
        path: the target; .mp4, .mov or .mkv.
        fps: frames per second.
        width, height: of the frames given to `write`, in pixels.
        audio: None for a video without audio.
        crf: x264 quality, 0 (lossless) to 51; 18 looks like the original.
        preset: of x264, "ultrafast" to "veryslow".

    Raises:
        OutputError: `path` cannot be written, the disk is full, a frame has another size, or there are no
            frames.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: Fraction,
        width: int,
        height: int,
        audio: Audio | None,
        crf: int = 18,
        preset: str = "medium",
    ) -> None:
        check_output_path(path)
        self.path = Path(path)
        self.fps = fps
        self.width = width
        self.height = height
        self.num_frames = 0
        self._audio = audio
        self._video_options = {"crf": str(crf), "preset": preset}
        self._num_samples_written = 0
        self._whole = partial_file(self.path, ending=self.path.suffix.lower())

    def __enter__(self) -> Self:
        codec = _AUDIO_CODECS[self.path.suffix.lower()]
        options = {} if self.path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
        try:
            self._partial = self._whole.__enter__()
            self._container = av.open(str(self._partial), "w", options=options)
            self._video = self._add_video()
            self._audio_stream = None
            if self._audio is not None and self._audio.num_samples:
                self._audio = _encodable(self._audio, codec)
                self._audio_stream = self._add_audio(self._audio, codec)
        except BaseException as error:
            raise self._abandon(error) from error
        return self

    def write(self, frame: npt.NDArray[np.uint8]) -> None:
        """Appends a frame, (height, width, 3) uint8 RGB, and the audio up to the end of that frame."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            got = f"{frame.dtype} of shape {frame.shape}"
            raise OutputError(
                "wrong kind of frame", got=got, expected=f"uint8 of {self.height, self.width, 3}"
            )
        try:
            for packet in self._video.encode(self._picture(frame)):
                self._container.mux(packet)
            self.num_frames += 1
            self._write_audio(frame_to_sample(self.num_frames, self.fps, self._sample_rate_hz))
        except (av.FFmpegError, OSError) as error:
            raise _output_error(self.path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        try:
            self._finish()
        except BaseException as failure:
            raise self._abandon(failure) from failure

    def _finish(self) -> None:
        if self.num_frames == 0:
            raise OutputError(f"nothing to write to {self.path}", got="0 frames")
        if self._audio is not None:
            self._write_audio(self._audio.num_samples)
        for stream in (self._video, self._audio_stream):
            for packet in stream.encode(None) if stream is not None else ():
                self._container.mux(packet)
        self._container.close()
        with self._partial.open("rb+") as file:
            os.fsync(file.fileno())
        self._whole.__exit__(None, None, None)

    def _abandon(self, error: BaseException) -> BaseException:
        """Deletes the partial file and returns the error to raise."""
        container = getattr(self, "_container", None)
        if container is not None:
            # A second failure tells nothing new, and the file is deleted anyway.
            with suppress(av.FFmpegError, OSError):
                container.close()
        if isinstance(error, (av.FFmpegError, OSError)):
            error = _output_error(self.path, error)
        self._whole.__exit__(type(error), error, error.__traceback__)
        return error

    @property
    def _sample_rate_hz(self) -> int:
        return 1 if self._audio is None else self._audio.sample_rate_hz

    def _add_video(self) -> av.VideoStream:
        stream = self._container.add_stream("libx264", rate=self.fps, options=self._video_options)
        stream.width = self.width + self.width % 2
        stream.height = self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.time_base = 1 / self.fps
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return stream

    def _add_audio(self, audio: Audio, codec: str) -> av.AudioStream:
        layout = "mono" if audio.num_channels == 1 else "stereo"
        stream = self._container.add_stream(codec, rate=audio.sample_rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if codec == "aac":
            stream.bit_rate = _AAC_BITS_PER_S_AND_CHANNEL * audio.num_channels
        return stream

    def _picture(self, frame: npt.NDArray[np.uint8]) -> av.VideoFrame:
        even = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        )
        picture.pts = self.num_frames
        picture.time_base = 1 / self.fps
        return picture

    def _write_audio(self, stop: int) -> None:
        """Writes samples up to `stop`, in whole pieces except at the end of the audio."""
        if self._audio is None or self._audio_stream is None:
            return
        audio = self._audio
        while (start := self._num_samples_written) < min(stop, audio.num_samples):
            piece = np.ascontiguousarray(audio.samples[:, start : start + _PIECE_SAMPLES])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", "mono" if len(piece) == 1 else "stereo")
            frame.sample_rate = audio.sample_rate_hz
            frame.pts = start
            frame.time_base = Fraction(1, audio.sample_rate_hz)
            for packet in self._audio_stream.encode(frame):
                self._container.mux(packet)
            self._num_samples_written += piece.shape[1]


def _encodable(audio: Audio, codec: str) -> Audio:
    if codec != "aac" or audio.sample_rate_hz in _AAC_RATES_HZ:
        return audio
    higher = (rate for rate in _AAC_RATES_HZ if rate > audio.sample_rate_hz)
    return audio.resample(next(higher, _AAC_RATES_HZ[-1]))


def _target(path: Path) -> Path:
    """The file that is written: where `path` is a symbolic link, what it points to."""
    return Path(os.path.realpath(path))


def _output_error(path: Path, error: av.FFmpegError | OSError) -> OpenEmoError:
    reason, fix = _REASONS.get(error.errno or 0, (error.strerror or type(error).__name__, None))
    return OutputError(f"{path} cannot be written", got=reason, fix=fix)
