"""Sound as it comes: the same frames however it is cut, and a person who lives on in silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openemo.arrays import Samples
from openemo.audio import Audio
from openemo.audio.audio_reader import read_audio
from openemo.errors import AudioError, ConfigError
from openemo.pipeline import EmoPipeline, LiveFrame
from openemo.pipeline.output import Frame
from openemo.pipeline.stream_options import LOOKAHEAD_S
from openemo.provenance.marking import UNMARKED, Marking
from openemo.video.images import read_image

RATE_HZ = 16_000
SMALL = {"framing": "crop", "size_px": 64, "num_inference_steps": 1}


@pytest.fixture(scope="module")
def portrait(portrait_path: Path) -> Frame:
    return read_image(portrait_path)


@pytest.fixture(scope="module")
def voice(voice_path: Path) -> Samples:
    samples: Samples = read_audio(voice_path).mono().resample(RATE_HZ).samples[0]
    return samples


def pieces(samples: Samples, *sizes: int) -> Iterator[Samples]:
    """The samples in chunks of these sizes, over and over."""
    start = number = 0
    while start < len(samples):
        size = sizes[number % len(sizes)]
        yield samples[start : start + size]
        start, number = start + size, number + 1


def stacked(frames: list[LiveFrame]) -> Frame:
    return np.stack([frame.image for frame in frames])


def test_frames_do_not_depend_on_how_the_sound_is_cut(
    tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples
) -> None:
    sound = voice[RATE_HZ // 2 : RATE_HZ + 4900]
    whole, cut = (
        list(tiny_pipeline.stream(portrait, chunks, **SMALL))  # type: ignore[arg-type]
        for chunks in ([sound], pieces(sound, 31, 1, 4000, 160))
    )
    assert len(whole) == 20
    assert np.array_equal(stacked(whole), stacked(cut))


@pytest.mark.parametrize("rate_hz", [16_000, 22_050])
def test_a_frame_needs_no_more_sound_than_the_look_ahead(
    tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples, rate_hz: int
) -> None:
    """What comes later changes nothing: frames of a longer sound begin with those of a shorter one."""
    sound = Audio(voice[None, :RATE_HZ], RATE_HZ).resample(rate_hz).samples[0]
    sent: list[float] = []

    def chunks() -> Iterator[Samples]:
        for piece in pieces(sound, rate_hz // 100):
            sent.append(len(piece) / rate_hz)
            yield piece

    stream = tiny_pipeline.stream(portrait, chunks(), sample_rate_hz=rate_hz, **SMALL)  # type: ignore[arg-type]
    next(iter(stream))
    # The clip, the look-ahead, what the resampler holds back; and the next clip, which is in work.
    clip_s = stream.clip_frames / 25
    assert sum(sent) <= 2 * clip_s + LOOKAHEAD_S + 0.02
    stream.close()


def test_later_sound_does_not_change_earlier_frames(
    tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples
) -> None:
    other = voice.copy()
    until = round((12 / 25 + LOOKAHEAD_S + 0.005) * RATE_HZ)
    other[until:] = -other[until:][::-1]
    first, second = (
        stacked(list(tiny_pipeline.stream(portrait, [sound[: 3 * RATE_HZ // 4]], **SMALL)))  # type: ignore[arg-type]
        for sound in (voice, other)
    )
    assert np.array_equal(first[:12], second[:12])
    assert not np.array_equal(first[12:], second[12:])


def test_each_frame_has_its_sound(tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples) -> None:
    for rate_hz, fps in ((16_000, 25), (44_100, "29.97")):
        sound = voice[: rate_hz // 3]
        stream = tiny_pipeline.stream(portrait, [sound], sample_rate_hz=rate_hz, fps=fps, **SMALL)  # type: ignore[arg-type]
        frames = list(stream)
        assert [frame.number for frame in frames] == list(range(len(frames)))
        assert frames[-1].time_s == pytest.approx(float((len(frames) - 1) / stream.fps))
        given = np.concatenate([frame.samples for frame in frames])
        both = min(len(given), len(sound))
        assert np.array_equal(given[:both], sound[:both])
        assert not given[both:].any()
        assert abs(len(sound) - len(given)) <= rate_hz / float(stream.fps) / 2 + 1


def test_pcm_as_bytes_and_numbers_is_the_same(
    tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples
) -> None:
    whole = np.round(voice[:4000] * 32767).astype("<i2")
    as_bytes, as_numbers = (
        stacked(list(tiny_pipeline.stream(portrait, [chunk], **SMALL)))  # type: ignore[arg-type]
        for chunk in (whole.tobytes(), whole)
    )
    assert np.array_equal(as_bytes, as_numbers)


def test_wrong_chunks_and_options_are_refused(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    stream = tiny_pipeline.stream(portrait)
    with pytest.raises(AudioError, match="within a sample"):
        stream.send(b"abc")
    with pytest.raises(AudioError, match="another sample rate"):
        stream.send(Audio(np.zeros((1, 80), np.float32), 8000))
    with pytest.raises(ConfigError, match="unknown"):
        stream.set_emotion("hungry")
    stream.close()
    assert list(stream) == []
    with pytest.raises(ConfigError, match="no such option"):
        tiny_pipeline.stream(portrait, lokahead_s=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="lookahead_s"):
        tiny_pipeline.stream(portrait, lookahead_s=0.01)


def test_a_failing_source_fails_where_the_frames_are_read(
    tiny_pipeline: EmoPipeline, portrait: Frame
) -> None:
    def broken() -> Iterator[Samples]:
        yield np.zeros(8000, np.float32)
        raise OSError("the microphone is gone")

    for realtime in (False, True):
        with pytest.raises(OSError, match="microphone"):
            list(tiny_pipeline.stream(portrait, broken(), realtime=realtime, **SMALL))  # type: ignore[arg-type]


def test_silence_lives_and_comes_at_its_time(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Nobody sends anything: frames come all the same, 25 a second, and they differ."""
    stream = tiny_pipeline.stream(portrait, realtime=True, **SMALL)  # type: ignore[arg-type]
    frames, moments_s = [], []
    with stream:
        for frame in stream:
            frames.append(frame)
            moments_s.append(time.monotonic())
            if len(frames) == 24:
                break
    # A busy machine may be late, and never early, but for the delay that is made up.
    assert moments_s[-1] - moments_s[0] > 0.95 * 23 / 25
    assert all(not frame.samples.any() for frame in frames)
    assert not np.array_equal(frames[0].image, frames[-1].image)


def test_an_interruption_drops_what_waits(
    tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples
) -> None:
    stream = tiny_pipeline.stream(portrait, realtime=True, **SMALL)  # type: ignore[arg-type]
    stream.send(voice[: 4 * RATE_HZ])
    loud = []
    with stream:
        for frame in stream:
            loud.append(bool(np.abs(frame.samples).max() > 0))
            if frame.number == 8:
                stream.interrupt()
                assert stream.queued_s == 0
            if frame.number == 22:
                break
    assert any(loud[:9])
    assert not any(loud[9 + 2 * stream.clip_frames + 2 :])


def test_frames_are_marked_unless_that_is_switched_off(
    tiny_pipeline: EmoPipeline, portrait: Frame, voice: Samples
) -> None:
    def first(**options: Any) -> Frame:
        with tiny_pipeline.stream(
            portrait,
            iter([voice[:8000]]),
            **SMALL,  # type: ignore[arg-type]
            **options,
        ) as stream:
            return next(iter(stream)).image

    plain = first(marking=UNMARKED)
    change = first().astype(int) - plain
    assert 0 < np.abs(change).max() < 24
    badged = first(marking=Marking(watermark=False, badge=True))
    assert np.array_equal(badged[:32], plain[:32])
    assert not np.array_equal(badged[32:], plain[32:])


def test_who_stops_reading_ends_the_stream(tiny_pipeline: EmoPipeline, portrait: Frame) -> None:
    """Also where it waits for sound that never comes."""
    before = threading.active_count()
    stream = tiny_pipeline.stream(portrait, **SMALL)  # type: ignore[arg-type]
    stream.send(np.zeros(RATE_HZ, np.float32))
    with stream:
        next(iter(stream))
    assert threading.active_count() == before
