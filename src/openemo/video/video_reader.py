"""Frames and properties of a video file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from openemo.audio.media_file import DECODER_ERRORS, open_media
from openemo.errors import InputError, OpenEmoError

__all__ = ["FORMATS", "VideoInfo", "check_has_picture", "probe", "read_frames", "to_rgb", "unreadable"]

FORMATS: Final = "Any video file that FFmpeg decodes will do: MP4, MOV, MKV, WebM, ... A playlist will not"
_HD_HEIGHT = 720


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video file.

    Attributes:
        width, height: as shown, in pixels, after a phone's rotation.
        num_frames: as declared in the file, otherwise computed from the duration.
        duration_s: of the picture track.
    """

    width: int
    height: int
    fps: Fraction
    num_frames: int
    duration_s: float
    has_audio: bool


def probe(path: str | Path) -> VideoInfo:
    """Reads the header and the first frame.

    Raises:
        InputError: the file is missing, not a media file, or has no picture.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or stream.guessed_rate
        first = next(container.decode(stream), None)
        if fps is None or first is None:
            raise InputError(f"{path} has no frames", expected="a video", fix=FORMATS)
        width, height = first.width, first.height
        if first.rotation % 180:
            width, height = height, width
        duration_s = Fraction(container.duration or 0, av.time_base)
        if stream.duration is not None and stream.time_base is not None:
            duration_s = stream.duration * stream.time_base
        return VideoInfo(
            width=width,
            height=height,
            fps=Fraction(fps),
            num_frames=stream.frames or round(duration_s * fps),
            duration_s=float(duration_s),
            has_audio=bool(container.streams.audio),
        )


def read_frames(path: str | Path) -> Iterator[npt.NDArray[np.uint8]]:
    """All frames in display order: (height, width, 3) uint8 RGB, upright; one at a time in memory.

    Raises:
        InputError: the file is missing, not a media file, or has no picture; or damage was reached.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield to_rgb(frame)


def to_rgb(frame: av.VideoFrame, max_side_px: int | None = None) -> npt.NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB, upright, and smaller where its longer side is over `max_side_px`."""
    scale = min(1.0, (max_side_px or math.inf) / max(frame.width, frame.height))
    rgb = frame.reformat(
        width=max(1, round(scale * frame.width)),
        height=max(1, round(scale * frame.height)),
        format="rgb24",
        src_colorspace=_colorspace(frame),
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA if scale < 1 else None,
    )
    image = np.asarray(rgb.to_ndarray(), np.uint8)
    # `rotation` is the counter-clockwise angle that turns the frame upright.
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def _colorspace(frame: av.VideoFrame) -> Colorspace | None:
    """The declared matrix, or what players assume: BT.709 from 720 lines on, BT.601 below."""
    if frame.format.is_rgb:
        return None
    try:
        declared = Colorspace(frame.colorspace)
    except ValueError:
        declared = Colorspace.DEFAULT
    if declared in (Colorspace.ITU709, Colorspace.ITU601, Colorspace.FCC, Colorspace.SMPTE240M):
        return declared
    return Colorspace.ITU709 if frame.height >= _HD_HEIGHT else Colorspace.ITU601


@contextmanager
def _open(path: str | Path) -> Iterator[av.container.InputContainer]:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no video file {path}", fix="Check the path")
    with unreadable(path), open_media(path) as container:
        check_has_picture(container, path)
        yield container


def check_has_picture(container: av.container.InputContainer, name: str | Path) -> None:
    """Raises InputError where there is no track of pictures."""
    if not container.streams.video:
        raise InputError(f"{name} has no picture", expected="a video", fix=FORMATS)


@contextmanager
def unreadable(name: str | Path) -> Iterator[None]:
    """Turns what damaged files raise into InputError."""
    try:
        yield
    except OpenEmoError:
        raise
    except MemoryError as error:
        raise InputError(f"{name} needs too much memory", fix="Convert it to a smaller size") from error
    except (av.FFmpegError, *DECODER_ERRORS) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{name} cannot be read as video", got=reason, fix=FORMATS) from error
