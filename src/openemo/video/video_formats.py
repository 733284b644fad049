"""What each ending of a video's name stands for: container, codec, pixels, sound."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from openemo.errors import OutputError

__all__ = ["VideoFormat", "find_format", "is_picture_sequence"]

_PATTERN: Final = re.compile(r"[^%]*%(0\d)?d[^%]*\.png", re.IGNORECASE)
_EXAMPLE: Final = "frames/%05d.png"


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """How the videos of one ending are written.

    Attributes:
        codec, options: FFmpeg's encoder and its settings.
        pixels: FFmpeg's pixel format.
        container: FFmpeg's name; None goes by the ending.
        container_options: of FFmpeg's muxer.
        sound: FFmpeg's encoder; None for containers without sound.
        max_fps: at which players keep to the file's own rate.
    """

    codec: str
    pixels: str
    options: dict[str, str] = field(default_factory=dict)
    container: str | None = None
    container_options: dict[str, str] = field(default_factory=dict)
    sound: str | None = None
    max_fps: Fraction | None = None

    @property
    def is_yuv(self) -> bool:
        """BT.709 in studio range, with even sides: 4:2:0 has one colour for each 2 x 2 pixels."""
        return self.pixels.startswith("yuv")

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, one sentence each."""
        return () if self.sound else ("the sound is left out, because this kind of file has none",)


# Videos look as with the preset "medium" at 18, in under half its time and 1.4 times its size: 43.1 dB for
# 43.6, against 41.4 at 18.
_H264: Final = {"preset": "veryfast", "crf": "15"}
# The realtime deadline takes as long as x264's preset "medium", at the same quality and 1.2 times the size.
# The "good" one takes four to five times as long for two thirds of the size.
_VP9: Final = {
    "crf": "18",
    "deadline": "realtime",
    "cpu-used": "6",
    "row-mt": "1",
    "tile-columns": "2",
    "b": "0",
}
_FASTSTART: Final = {"movflags": "+faststart"}
# Level 6, zlib's own default, takes three times as long and saves a twentieth.
_PNG: Final = {"compression_level": "3"}
# Lossy. Levels over 2 take half as long again and save a twentieth.
_WEBP: Final = VideoFormat(
    "libwebp_anim",
    "bgra",
    {"quality": "80", "compression_level": "2"},
    container_options={"loop": "0"},
)
# Browsers slow down what is faster than 2/100 s per frame.
_GIF: Final = VideoFormat("gif", "pal8", max_fps=Fraction(50))

_OPAQUE: Final = {
    ".mp4": VideoFormat("libx264", "yuv420p", _H264, container_options=_FASTSTART, sound="aac"),
    ".mov": VideoFormat("libx264", "yuv420p", _H264, container_options=_FASTSTART, sound="pcm_s16le"),
    ".mkv": VideoFormat("libx264", "yuv420p", _H264, sound="pcm_s16le"),
    ".webm": VideoFormat("libvpx-vp9", "yuv420p", _VP9, sound="libopus"),
    ".gif": _GIF,
    ".webp": _WEBP,
    ".png": VideoFormat("png", "rgb24", _PNG, container="image2"),
}
_TRANSPARENT: Final = {
    # `prores` takes half the time of `prores_ks`, at 54 dB.
    ".mov": VideoFormat(
        "prores",
        "yuva444p10le",
        {"profile": "4", "vendor": "apl0"},
        container_options=_FASTSTART,
        sound="pcm_s16le",
    ),
    # Frames that are never shown have no alpha.
    ".webm": VideoFormat("libvpx-vp9", "yuva420p", _VP9 | {"auto-alt-ref": "0"}, sound="libopus"),
    ".gif": _GIF,
    ".webp": _WEBP,
    ".png": VideoFormat("png", "rgba", _PNG, container="image2"),
}


def find_format(path: Path, *, transparent: bool = False) -> VideoFormat:
    """The format that `path` asks for.

    Raises:
        OutputError: unknown ending, or one without transparency where it is asked for.
    """
    ending = path.suffix.lower()
    if ending not in _OPAQUE:
        raise OutputError("unknown kind of video file", got=path.name, expected=_names(_OPAQUE))
    if transparent and ending not in _TRANSPARENT:
        raise OutputError(
            f"a {ending} video has no transparency",
            got=path.name,
            expected=_names(_TRANSPARENT),
            fix="Choose one of these, or leave `transparent` out",
        )
    if ending == ".png" and not is_picture_sequence(path):
        raise OutputError(
            "a .png file holds one frame",
            got=path.name,
            expected="a name with a number in it, and a folder of its own",
            fix=f"Write a folder of frames: {_EXAMPLE}",
        )
    return (_TRANSPARENT if transparent else _OPAQUE)[ending]


def is_picture_sequence(path: Path) -> bool:
    """Whether `path` is a pattern such as frames/%05d.png, for a file per frame."""
    return _PATTERN.fullmatch(path.name) is not None


def _names(formats: dict[str, VideoFormat]) -> str:
    *others, _ = formats
    return f"a name that ends in {', '.join(others)}, or frames as in {_EXAMPLE}"
