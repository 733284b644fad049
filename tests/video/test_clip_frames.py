"""Clips for their motion: frames with their times, no larger and no more than needed."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import InputError
from openemo.video.clip_frames import decode_clip
from openemo.video.video_reader import read_frames


def write_at(
    path: Path, times_ms: Sequence[int], *, size: tuple[int, int] = (48, 32), rotation: int = 0
) -> None:
    """Frames of rising grey that are shown at these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, time_ms in enumerate(times_ms):
            grey = np.full((size[1], size[0], 3), 20 + 5 * (number % 40), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frames_of(
    path: Path, max_s: float = 100, limits: DecodingLimits = DEFAULT_LIMITS
) -> list[tuple[int, float]]:
    """Times in ms and grey levels."""
    with path.open("rb") as file:
        frames = list(decode_clip(file, path.name, limits, max_s=max_s))
    return [(round(1000 * time_s), float(image.mean())) for time_s, image in frames]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_come_at_the_times_at_which_they_are_shown(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    times_ms = [0, 40, 80, 400, 440, 1000, 1033]
    write_at(path, times_ms)
    frames = frames_of(path)
    assert [time_ms for time_ms, _ in frames] == times_ms
    np.testing.assert_allclose([level for _, level in frames], [20 + 5 * n for n in range(7)], atol=3)
    assert [time_ms for time_ms, _ in frames_of(path, max_s=0.42)] == times_ms[:4]


def test_of_60_frames_per_second_every_second_one_is_taken(tmp_path: Path) -> None:
    write_at(tmp_path / "a.mp4", [round(1000 * number / 60) for number in range(30)])
    steps = np.diff([time_ms for time_ms, _ in frames_of(tmp_path / "a.mp4")])
    assert steps == pytest.approx(33.3, abs=1.1)


def test_a_large_frame_becomes_smaller_and_a_small_one_stays(tmp_path: Path) -> None:
    write_at(tmp_path / "large.mp4", [0], size=(2560, 320))
    (frame,) = decode_clip((tmp_path / "large.mp4").read_bytes(), "large.mp4", DEFAULT_LIMITS, max_s=1)
    assert frame.image.shape == (240, 1920, 3)
    write_at(tmp_path / "small.mp4", [0, 40])
    small = list(decode_clip((tmp_path / "small.mp4").read_bytes(), "small.mp4", DEFAULT_LIMITS, max_s=1))
    np.testing.assert_array_equal([frame.image for frame in small], list(read_frames(tmp_path / "small.mp4")))


def test_what_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    write_at(tmp_path / "a.mp4", [0, 40])
    with pytest.raises(
        InputError, match=r"frames of a\.mp4 are too large; got 48x32; expected at most 1,000"
    ):
        frames_of(tmp_path / "a.mp4", limits=DecodingLimits(max_pixels=1_000))
    sound = io.BytesIO()
    with av.open(sound, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8_000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8_000
        container.mux(stream.encode(samples))
    for data, reason in ((sound.getvalue(), "has no picture"), (b"no video" * 99, "cannot be read as video")):
        with pytest.raises(InputError, match=f"^clip {reason}"):
            list(decode_clip(data, "clip", DEFAULT_LIMITS, max_s=1))


def test_damage_is_left_out_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.mkv"
    write_at(path, range(0, 2_000, 40), size=(320, 240))
    data = bytearray(path.read_bytes())
    middle = data.index(b"\x1f\x43\xb6\x75") + len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING, logger="openemo"):
        assert len(frames_of(path)) > 5
