"""What a reader of a pipe gets: whole frames at once, sound and picture in step."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from openemo.errors import OutputError
from openemo.video.live_writer import LiveWriter, open_live_writer

EVERY_S = 1.0
FPS = Fraction(25)


def flashes_and_clicks(kind: str, rate_hz: int, fps: Fraction, seconds: int) -> bytes:
    """A white frame and a click at each second."""
    file = io.BytesIO()
    given = 0
    with LiveWriter(file, kind, fps=fps, width=66, height=49, sample_rate_hz=rate_hz) as writer:  # type: ignore[arg-type]
        for number in range(round(seconds * fps)):
            time_s = number / float(fps)
            is_flash = time_s % EVERY_S < 1 / float(fps) - 1e-9
            stop = round((number + 1) / float(fps) * rate_hz)
            samples = np.zeros(stop - given, np.float32)
            given = stop
            if is_flash:
                samples[: rate_hz // 100] = 0.9 * np.sign(np.sin(np.arange(rate_hz // 100) * 0.7))
            writer.write(np.full((49, 66, 3), 255 * is_flash, np.uint8), samples)
    return file.getvalue()


def moments_s(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """When flashes are seen and clicks are heard, by the time stamps of what was received."""
    flashes, sounds, times = [], [], []
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0, audio=0):
            assert isinstance(frame, (av.VideoFrame, av.AudioFrame))
            assert frame.time is not None
            if isinstance(frame, av.VideoFrame):
                if frame.to_ndarray(format="gray").mean() > 128:
                    flashes.append(frame.time)
            else:
                values = frame.to_ndarray()[0]
                sounds.append(values)
                times.append(frame.time + np.arange(len(values)) / frame.sample_rate)
    loud, at = np.abs(np.concatenate(sounds)) > 0.3, np.concatenate(times)
    starts = at[np.flatnonzero(loud & ~np.roll(loud, 1))]
    return np.array(flashes), starts[np.diff(starts, prepend=-1.0) > EVERY_S / 2]


@pytest.mark.parametrize("kind", ["mpegts", "mp4"])
@pytest.mark.parametrize(("rate_hz", "fps"), [(16_000, FPS), (22_050, Fraction(30_000, 1001))])
def test_sound_and_picture_are_in_step(kind: str, rate_hz: int, fps: Fraction) -> None:
    flashes, clicks = moments_s(flashes_and_clicks(kind, rate_hz, fps, 6))
    assert len(flashes) == len(clicks) == 6
    apart_ms = 1000 * (flashes - clicks)
    assert np.abs(apart_ms).max() < 40
    assert np.ptp(apart_ms[1:]) < 1  # no drift


def test_a_frame_is_out_as_soon_as_it_is_written() -> None:
    """Whoever reads the pipe can decode all frames but the one that is written now."""
    file = io.BytesIO()
    writer = LiveWriter(file, "mpegts", fps=FPS, width=64, height=48, sample_rate_hz=16_000)
    noise = np.random.default_rng(0)
    for number in range(40):
        picture = noise.integers(0, 255, (48, 64, 3), np.uint8)
        writer.write(picture, np.zeros(640, np.float32))
        if number < 20:
            continue
        with av.open(io.BytesIO(file.getvalue()), "r") as container:
            assert len(list(container.demux(video=0))) >= number  # the last packet is an empty one
    writer.close()


def test_raw_frames_are_bytes() -> None:
    file = io.BytesIO()
    writer = open_live_writer(file, "rgb24", fps=FPS, width=5, height=3, sample_rate_hz=None)
    frames = np.random.default_rng(1).integers(0, 255, (4, 3, 5, 3), np.uint8)
    for frame in frames:
        writer.write(frame)
    assert file.getvalue() == frames.tobytes()


def test_wrong_frames_are_refused() -> None:
    writer = LiveWriter(io.BytesIO(), fps=FPS, width=64, height=48, sample_rate_hz=None)
    with pytest.raises(OutputError, match="wrong kind of frame"):
        writer.write(np.zeros((48, 48, 3), np.uint8))
