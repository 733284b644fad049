"""What a video file says of itself, and what its first second shows."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Annotated, BinaryIO, Final

import av
from pydantic import Field
from pydantic.dataclasses import dataclass

from openemo.audio.media_file import decoded_frames, open_media
from openemo.decoding_limits import DecodingLimits
from openemo.errors import InputError
from openemo.video.video_reader import FORMATS, check_has_picture, unreadable

__all__ = ["MediaFacts", "read_facts"]

LONGEST_S: Final = 172_800
"""Two days; what claims to last longer is damaged."""
_SHOWN: Final = 25  # frames in which steps of the clock are compared
_SAME_STEP: Final = 0.1


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """Properties of a video file.

    Attributes:
        container, codec: FFmpeg's names.
        duration_s: on the file's clock, of the longest track.
        width, height: as shown, in pixels, after a phone's rotation.
        rotation_deg: by which the frames are turned to be shown, counter-clockwise.
        fps: mean rate; 0 where unknown.
        is_variable: the first frames come at uneven steps.
        sound_tracks: their number. sound_track: what players take, None without any.
        first_picture_s: when the first frame is shown.
    """

    container: str
    codec: str
    duration_s: Annotated[float, Field(ge=0, le=LONGEST_S)]
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]
    rotation_deg: Annotated[float, Field(allow_inf_nan=False)]
    fps: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    is_variable: bool
    sound_tracks: Annotated[int, Field(ge=0)]
    sound_track: int | None
    first_picture_s: Annotated[float, Field(allow_inf_nan=False)]


def read_facts(file: BinaryIO, name: str, limits: DecodingLimits) -> MediaFacts:
    """Reads the header and the first second of frames.

    Raises:
        InputError: not a media file, no picture, no frame, or frames over `limits.max_pixels`.
    """
    file.seek(0)
    with unreadable(name), open_media(file) as container:
        check_has_picture(container, name)
        stream = container.streams.video[0]
        frames = list(islice(decoded_frames(container, stream, av.VideoFrame, name), _SHOWN))
        if not frames:
            raise InputError(f"{name} has no frames", expected="a video", fix=FORMATS)
        first = frames[0]
        if first.width * first.height > limits.max_pixels:
            got, expected = f"{first.width}x{first.height}", f"at most {limits.max_pixels:,} pixels"
            raise InputError(f"the frames of {name} are too large", got=got, expected=expected)
        times_s = [frame.time for frame in frames if frame.time is not None]
        origin_s = (container.start_time or 0) / av.time_base
        best = container.streams.best("audio")
        tracks = container.streams.audio
        duration_s = _duration_s(container, stream)
        if not 0 <= duration_s <= LONGEST_S:
            got = f"{duration_s:,.0f} s"
            raise InputError(
                f"{name} says a length that cannot be", got=got, expected=f"at most {LONGEST_S:,} s"
            )
        is_turned = bool(round(first.rotation / 90) % 2)
        return MediaFacts(
            container=container.format.name,
            codec=stream.codec_context.name,
            duration_s=duration_s,
            width=first.height if is_turned else first.width,
            height=first.width if is_turned else first.height,
            rotation_deg=float(first.rotation),
            fps=float(stream.average_rate or stream.guessed_rate or 0),
            is_variable=_is_variable(times_s),
            sound_tracks=len(tracks),
            sound_track=next((i for i, track in enumerate(tracks) if track is best), 0) if tracks else None,
            first_picture_s=times_s[0] - origin_s if times_s else 0.0,
        )


def _duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    if container.duration:
        return float(container.duration / av.time_base)
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # A recorder that could not go back to write it, as browsers: the last packet says it.
    last = max((packet.pts for packet in container.demux(stream) if packet.pts is not None), default=0)
    origin_s = (container.start_time or 0) / av.time_base
    return float(last * (stream.time_base or 0)) - origin_s


def _is_variable(times_s: list[float]) -> bool:
    steps = [after - before for before, after in pairwise(times_s)]
    mean_s = sum(steps) / max(len(steps), 1)
    return any(abs(step - mean_s) > _SAME_STEP * mean_s for step in steps)
