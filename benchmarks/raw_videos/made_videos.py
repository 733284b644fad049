"""Makes videos with one trouble each out of clean clips of speakers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from openemo.arrays import Image
from openemo.audio.audio_reader import Audio, read_audio
from openemo.video.video_reader import read_frames
from openemo.video.video_writer import VideoWriter

__all__ = ["EXPECTED", "make_raw_videos", "phone_video", "shifted", "subtitled", "write"]

FPS: Final = Fraction(25)
# What should become of each: None for clips that are kept, else the reason that they are left out.
EXPECTED: Final[dict[str, tuple[str | None, ...]]] = {
    "plain.mp4": (None,),
    "two_people.mp4": (None, "nobody speaking"),
    "cut.mp4": (None, None),
    "subtitles.mp4": ("burnt-in text",),
    "late_sound.mp4": (None,),
    "early_sound.mp4": (None,),
    "phone.mp4": (None,),
    "second_track.mkv": (None,),
    "no_sound.mp4": ("silence",),
    "photo.mp4": ("still picture",),
    "small.mp4": ("small face",),
    "blurred.mp4": ("blurred",),
    "other_voice.mp4": ("nobody speaking",),
    "copy.webm": ("duplicate",),
}
BROKEN: Final = ("broken.mp4", "garbage.mp4", "empty.mp4")


def write(
    path: Path, frames: Iterable[Image], audio: Audio | None, *, fps: Fraction = FPS, crf: int | None = None
) -> None:
    """A video of these frames; sides become even."""
    taken = iter(frames)
    first = next(taken)
    height, width = first.shape[:2]
    with VideoWriter(
        path, fps=fps, width=width, height=height, audio=audio, crf=crf, preset="ultrafast"
    ) as writer:
        writer.write(first)
        for frame in taken:
            writer.write(frame)


def shifted(audio: Audio, frames: int) -> Audio:
    """The sound later by so many frames of 1/25 s, earlier if negative; as long as before."""
    step = round(frames * audio.sample_rate_hz / FPS)
    samples = np.zeros_like(audio.samples)
    if step >= 0:
        samples[:, step:] = audio.samples[:, : audio.num_samples - step]
    else:
        samples[:, :step] = audio.samples[:, -step:]
    return Audio(samples, audio.sample_rate_hz)


def subtitled(frame: Image, text: str, *, size_px: int = 22, colour: str = "white") -> Image:
    """A line of text near the lower edge, with an outline, as players burn it in."""
    picture = Pillow.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size_px)
    place = (frame.shape[1] / 2, frame.shape[0] - 0.8 * size_px)
    draw.text(place, text, colour, font, anchor="ms", stroke_width=2, stroke_fill="black")
    return np.asarray(picture, np.uint8)


def phone_video(path: Path, frames: Sequence[Image], audio: Audio, *, seed: int = 0) -> list[float]:
    """Stored on its side, with the rotation in the header and a rate that varies; returns the times in s."""
    rng = np.random.default_rng(seed)
    steps_ms = rng.choice((17, 33, 34, 50), 4 * len(frames))
    times_ms = np.concatenate([[0], np.cumsum(steps_ms)])
    times_ms = times_ms[times_ms < len(frames) * 40]
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "18"})
        video.width, video.height, video.pix_fmt = height, width, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=audio.sample_rate_hz, layout="mono")
        for time_ms in times_ms:
            lying = np.ascontiguousarray(np.rot90(frames[int(time_ms) // 40]))
            frame = av.VideoFrame.from_ndarray(lying, format="rgb24")
            frame.pts, frame.time_base = int(time_ms), Fraction(1, 1000)
            container.mux(video.encode(frame))
        for start in range(0, audio.num_samples, 1024):
            piece = np.ascontiguousarray(audio.mono().samples[:, start : start + 1024])
            heard = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
            heard.sample_rate, heard.pts = audio.sample_rate_hz, start
            heard.time_base = Fraction(1, audio.sample_rate_hz)
            container.mux(sound.encode(heard))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    _turn(path, height)
    return [time_ms / 1000 for time_ms in times_ms]


def _turn(path: Path, stored_width: int) -> None:
    """Writes into the header that the picture is shown turned clockwise by a quarter."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, stored_width * one, 0, 1 << 30)
    data[place : place + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


def _two_tracks(path: Path, frames: Sequence[Image], audio: Audio) -> None:
    """The first sound track is empty, the voice is on the second, which is marked as the default."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        quiet, loud = (
            container.add_stream("pcm_s16le", rate=audio.sample_rate_hz, layout="mono") for _ in range(2)
        )
        quiet.disposition = av.stream.Disposition(0)
        loud.disposition = av.stream.Disposition.default
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        for stream, gain in ((quiet, 0), (loud, 32767)):
            values = np.rint(audio.mono().samples * gain).astype(np.int16)
            heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), "s16", "mono")
            heard.sample_rate = audio.sample_rate_hz
            container.mux(stream.encode(heard))
            container.mux(stream.encode(None))
        container.mux(video.encode(None))


def _on_large(frame: Image) -> Image:
    """A person far away: the frame at a third in a grey picture of its own size."""
    small = cv2.resize(frame, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    large = np.full_like(frame, 128)
    large[60 : 60 + small.shape[0], 100 : 100 + small.shape[1]] = small
    return large


def make_raw_videos(clips: Sequence[Path], folder: Path, names: Iterable[str] | None = None) -> None:
    """Makes the videos of `EXPECTED` and the broken ones.

    Args:
        clips: seven clips of 3 s at 25 fps, with sound, the first two of two people; each speaks alone.
        names: of those to make; None makes all.
    """
    folder.mkdir(parents=True, exist_ok=True)

    @cache
    def frames(number: int) -> list[Image]:
        return list(read_frames(clips[number]))

    @cache
    def voice(number: int) -> Audio:
        return read_audio(clips[number])

    def blurred(image: Image) -> Image:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8)

    def two_voices() -> Audio:
        both = [voice(2).samples, voice(3).samples]
        return Audio(np.concatenate(both, axis=1), voice(2).sample_rate_hz)

    def side_by_side() -> Iterator[Image]:
        return (np.hstack(pair) for pair in zip(frames(4), frames(1), strict=True))

    text = "Please set blue at F two now"
    makers: dict[str, Callable[[Path], object]] = {
        "plain.mp4": lambda path: write(path, frames(0), voice(0)),
        "two_people.mp4": lambda path: write(path, side_by_side(), voice(4)),
        "cut.mp4": lambda path: write(path, [*frames(2), *frames(3)], two_voices()),
        "subtitles.mp4": lambda path: write(path, (subtitled(x, text) for x in frames(1)), voice(1)),
        "late_sound.mp4": lambda path: write(path, frames(1), shifted(voice(1), 9)),
        "early_sound.mp4": lambda path: write(path, frames(5), shifted(voice(5), -6)),
        "phone.mp4": lambda path: phone_video(path, frames(6), voice(6)),
        "second_track.mkv": lambda path: _two_tracks(path, frames(3), voice(3)),
        "no_sound.mp4": lambda path: write(path, frames(2), None),
        "photo.mp4": lambda path: write(path, repeat(frames(0)[0], 75), voice(0)),
        "small.mp4": lambda path: write(path, (_on_large(x) for x in frames(2)), voice(2)),
        "blurred.mp4": lambda path: write(path, (blurred(x) for x in frames(5)), voice(5)),
        "other_voice.mp4": lambda path: write(path, frames(4), voice(6)),
        "copy.webm": lambda path: write(path, frames(0), voice(0), crf=36),
        "empty.mp4": lambda path: path.write_bytes(b""),
        "garbage.mp4": lambda path: path.write_bytes(np.random.default_rng(0).bytes(20_000)),
        "broken.mp4": lambda path: _cut_off(path, frames(6), voice(6)),
    }
    for name, make in makers.items():
        if names is None or name in names:
            make(folder / name)


def _cut_off(path: Path, frames: Sequence[Image], audio: Audio) -> None:
    """A file whose end, with the index, is missing, as after a camera lost its power."""
    phone_video(path, frames, audio)
    path.write_bytes(path.read_bytes()[:40_000])
