"""Writes frames and audio to a video. No incomplete file is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from openemo.errors import OutputError
from openemo.timing import frame_to_sample
from openemo.video.gif_palette import GifPalette
from openemo.video.video_formats import find_format
from openemo.video.video_target import check_output_path, output_error, whole_video, written_files

__all__ = ["VideoWriter"]

# Rates that players support, too. PCM takes any.
_RATES_HZ: Final = {
    "aac": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "libopus": (8_000, 12_000, 16_000, 24_000, 48_000),
}
_BITS_PER_S_AND_CHANNEL: Final = {"aac": 96_000, "libopus": 64_000}
_PIECE_SAMPLES: Final = 1_024


class VideoWriter:
    """Writes a video in the format of the path's ending.

        with VideoWriter("out.mp4", fps=Fraction(25), width=512, height=512, audio=audio) as writer:
            for frame in frames:
                writer.write(frame)

    | path | picture | transparent picture | sound |
    |---|---|---|---|
    | .mp4 | H.264 4:2:0 | - | AAC |
    | .mov | H.264 4:2:0 | ProRes 4444 | 16-bit PCM |
    | .mkv | H.264 4:2:0 | - | 16-bit PCM |
    | .webm | VP9 4:2:0 | VP9 with alpha | Opus |
    | .gif | 256 colours | pixels are transparent or opaque | left out |
    | .webp | lossy WebP | lossy WebP with alpha | left out |
    | frames/%05d.png | a PNG per frame, from 00001 | PNG with alpha | left out |

    Video is in BT.709. Alpha is straight: colours are not multiplied by it. Frame k is shown from k / fps.
    The audio starts with the first frame and is always written completely, whatever the number of frames. The
    priming of AAC and Opus is declared, so that players and `read_audio` drop it. H.264, VP9 and ProRes need
    even sides: an odd width or height grows by one repeated column or row.

    The video is written to a hidden file beside the target. It replaces the target when the block ends
    without an error. Any exception, also KeyboardInterrupt, deletes it and leaves the target as it was.
    A symbolic link stays, and the file that it points to is replaced. A folder of frames appears whole, too,
    and must be new or empty.

    Args:
        path: the target.
        fps: frames per second.
        width, height: of the frames given to `write`, in pixels.
        audio: None for a video without audio.
        transparent: frames have a fourth channel, opacity, and the video has an alpha channel.
        crf: quality of H.264 and VP9, 0 (lossless) to 51; None looks like the original.
        preset: of x264, "ultrafast" to "veryslow"; None is "veryfast".
        comment: a line in the file's metadata. Pictures, GIF and WebP have no place for it.
        seal: is called with each finished file before it appears, and may change it.

    Raises:
        OutputError: `path` cannot be written, the disk is full, a frame has another size, there are no
            frames, or the format cannot show so many of them per second.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fps: Fraction,
        width: int,
        height: int,
        audio: Audio | None,
        transparent: bool = False,
        crf: int | None = None,
        preset: str | None = None,
        comment: str | None = None,
        seal: Callable[[Path], None] | None = None,
    ) -> None:
        check_output_path(path, transparent=transparent)
        self._kind = find_format(Path(path), transparent=transparent)
        if self._kind.max_fps is not None and fps > self._kind.max_fps:
            raise OutputError(
                f"a {Path(path).suffix} has too few frames per second for this video",
                got=f"{float(fps):g}",
                expected=f"at most {float(self._kind.max_fps):g}",
                fix="Choose another `fps`, or another ending",
            )
        self.path = Path(path)
        self.fps = fps
        self.width = width
        self.height = height
        self.num_frames = 0
        self._shape = (height, width, 4 if transparent else 3)
        self._audio = None if self._kind.sound is None else audio
        self._video_options = self._kind.options | _quality(self._kind.codec, crf, preset)
        self._palette: GifPalette | None = None
        if self._kind.pixels == "pal8":
            self._palette = GifPalette(width, height, fps, transparent=transparent)
        self._comment, self._seal = comment, seal
        self._num_samples_written = 0
        self._whole = whole_video(self.path)

    def __enter__(self) -> Self:
        kind = self._kind
        try:
            self._partial = self._whole.__enter__()
            self._container = av.open(
                str(self._partial), "w", format=kind.container, options=kind.container_options
            )
            if self._comment is not None:
                self._container.metadata["comment"] = self._comment
            self._video = self._add_video()
            self._audio_stream = None
            if self._audio is not None and self._audio.num_samples and kind.sound is not None:
                self._audio = _encodable(self._audio, kind.sound)
                self._audio_stream = self._add_audio(self._audio, kind.sound)
        except BaseException as error:
            raise self._abandon(error) from error
        return self

    def write(self, frame: npt.NDArray[np.uint8]) -> None:
        """Appends a frame and the audio up to the end of that frame.

        Args:
            frame: (height, width, 3) uint8 RGB; (height, width, 4) with opacity, straight, where the video is
                transparent.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            got = f"{frame.dtype} of shape {frame.shape}"
            raise OutputError("wrong kind of frame", got=got, expected=f"uint8 of {self._shape}")
        try:
            picture = self._picture(frame)
            self._encode([picture] if self._palette is None else self._palette.add(picture))
            self.num_frames += 1
            self._write_audio(frame_to_sample(self.num_frames, self.fps, self._sample_rate_hz))
        except (av.FFmpegError, OSError) as error:
            raise output_error(self.path, error) from error

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
        if self._palette is not None:
            self._encode(self._palette.finish())
        if self._audio is not None:
            self._write_audio(self._audio.num_samples)
        for stream in (self._video, self._audio_stream):
            for packet in stream.encode(None) if stream is not None else ():
                self._container.mux(packet)
        self._container.close()
        if self._seal is not None:
            for file in written_files(self._partial):
                self._seal(file)
        self._whole.__exit__(None, None, None)

    def _abandon(self, error: BaseException) -> BaseException:
        """Deletes what is incomplete, and returns the error to raise."""
        container = getattr(self, "_container", None)
        if container is not None:
            # A second failure tells nothing new, and the file is deleted anyway.
            with suppress(av.FFmpegError, OSError):
                container.close()
        if isinstance(error, (av.FFmpegError, OSError)):
            error = output_error(self.path, error)
        self._whole.__exit__(type(error), error, error.__traceback__)
        return error

    @property
    def _sample_rate_hz(self) -> int:
        return 1 if self._audio is None else self._audio.sample_rate_hz

    def _add_video(self) -> av.VideoStream:
        kind = self._kind
        stream = self._container.add_stream(kind.codec, rate=self.fps, options=self._video_options)
        assert isinstance(stream, av.VideoStream)
        stream.width = self.width + self.width % 2 * kind.is_yuv
        stream.height = self.height + self.height % 2 * kind.is_yuv
        stream.pix_fmt = kind.pixels
        context = stream.codec_context
        context.time_base = 1 / self.fps
        if kind.is_yuv:
            context.color_range = ColorRange.MPEG
            context.colorspace = Colorspace.ITU709
            context.color_primaries = ColorPrimaries.BT709
            context.color_trc = ColorTrc.BT709
        return stream

    def _add_audio(self, audio: Audio, codec: str) -> av.AudioStream:
        layout = "mono" if audio.num_channels == 1 else "stereo"
        stream = self._container.add_stream(codec, rate=audio.sample_rate_hz, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if codec in _BITS_PER_S_AND_CHANNEL:
            stream.bit_rate = _BITS_PER_S_AND_CHANNEL[codec] * audio.num_channels
        return stream

    def _encode(self, pictures: Iterable[av.VideoFrame]) -> None:
        for picture in pictures:
            for packet in self._video.encode(picture):
                self._container.mux(packet)

    def _picture(self, frame: npt.NDArray[np.uint8]) -> av.VideoFrame:
        kind, pixels = self._kind, "rgb24" if frame.shape[2] == 3 else "rgba"
        if kind.is_yuv and (self.height % 2 or self.width % 2):
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=pixels)
        if kind.is_yuv:
            picture = picture.reformat(
                format=kind.pixels,
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            )
        elif self._palette is None:
            picture = picture.reformat(format=kind.pixels)
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


def _quality(codec: str, crf: int | None, preset: str | None) -> dict[str, str]:
    """Options of the encoders that have a setting for quality, where it was given."""
    given: dict[str, int | str | None] = {}
    if codec in ("libx264", "libvpx-vp9"):
        given["crf"] = crf
    if codec == "libx264":
        given["preset"] = preset
    return {name: str(value) for name, value in given.items() if value is not None}


def _encodable(audio: Audio, codec: str) -> Audio:
    rates = _RATES_HZ.get(codec)
    if rates is None or audio.sample_rate_hz in rates:
        return audio
    higher = (rate for rate in rates if rate > audio.sample_rate_hz)
    return audio.resample(next(higher, rates[-1]))
