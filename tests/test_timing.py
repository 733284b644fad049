from __future__ import annotations

from fractions import Fraction

import pytest

from openemo.errors import ConfigError
from openemo.timing import (
    frame_time_s,
    frame_to_sample,
    frames_at_rate,
    num_frames,
    parse_fps,
    plan_clips,
    speech_window_start,
)

NTSC_24 = Fraction(24_000, 1001)
NTSC_30 = Fraction(30_000, 1001)
NTSC_60 = Fraction(60_000, 1001)
COMMON_FPS = [Fraction(12), NTSC_24, Fraction(24), Fraction(25), NTSC_30, Fraction(30), Fraction(50), NTSC_60]


@pytest.mark.parametrize(
    ("value", "fps"),
    [
        (25, Fraction(25)),
        (25.0, Fraction(25)),
        ("25", Fraction(25)),
        (" 30000/1001 ", NTSC_30),
        ("29.97", NTSC_30),
        (29.97, NTSC_30),
        (29.97002997, NTSC_30),
        (23.976, NTSC_24),
        ("23.98", NTSC_24),
        (59.94, NTSC_60),
        (12.5, Fraction(25, 2)),
        (NTSC_30, NTSC_30),
        (1, Fraction(1)),
        (120, Fraction(120)),
    ],
)
def test_parse_fps(value: float | str | Fraction, fps: Fraction) -> None:
    assert parse_fps(value) == fps


@pytest.mark.parametrize("value", [0, -25, 0.5, 121, "fast", "", "1/0", float("nan"), float("inf")])
def test_parse_fps_refuses(value: float | str) -> None:
    with pytest.raises(ConfigError, match="frame rate"):
        parse_fps(value)


@pytest.mark.parametrize("fps", COMMON_FPS)
@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000, 192_000])
def test_video_is_as_long_as_the_audio(fps: Fraction, sample_rate_hz: int) -> None:
    for num_samples in [0, 1, 799, 12_345, 480_001, 7_654_321, 3_600 * sample_rate_hz]:
        frames = num_frames(num_samples, sample_rate_hz, fps)
        assert abs(frames / fps - Fraction(num_samples, sample_rate_hz)) <= 1 / fps / 2


@pytest.mark.parametrize("fps", COMMON_FPS)
@pytest.mark.parametrize("sample_rate_hz", [8_000, 44_100, 48_000])
def test_frames_survive_samples(fps: Fraction, sample_rate_hz: int) -> None:
    for frame in [*range(500), 90_000]:
        assert num_frames(frame_to_sample(frame, fps, sample_rate_hz), sample_rate_hz, fps) == frame


def test_halves_round_up() -> None:
    # 0.5, 1.5 and 2.5 frames; Python's round would make the last one 2.
    assert [num_frames(samples, 50, Fraction(25)) for samples in (1, 3, 5)] == [1, 2, 3]


def test_frame_time() -> None:
    assert frame_time_s(3, Fraction(25)) == Fraction(3, 25)
    assert frame_to_sample(30_000, NTSC_30, 48_000) == 1001 * 48_000


def test_speech_window_is_emos_at_25_fps() -> None:
    assert [speech_window_start(k, Fraction(25), 50, 10) for k in range(200)] == [
        2 * k - 4 for k in range(200)
    ]


@pytest.mark.parametrize("fps", COMMON_FPS)
@pytest.mark.parametrize("window_tokens", [1, 2, 9, 10])
def test_speech_window_is_centred_on_the_frame(fps: Fraction, window_tokens: int) -> None:
    for frame in [0, 1, 2, 77, 5_003]:
        start = speech_window_start(frame, fps, 50, window_tokens)
        centre_s = (start + Fraction(window_tokens, 2)) / 50
        assert abs(centre_s - (frame + Fraction(1, 2)) / fps) <= Fraction(1, 100)


@pytest.mark.parametrize("clip_frames", [1, 5, 12, 501])
def test_clips_cover_each_frame_once(clip_frames: int) -> None:
    for frames in range(1, 501):
        spans = plan_clips(frames, clip_frames)
        assert [frame for span in spans for frame in range(span.start, span.stop)] == list(range(frames))
        assert all(len(span) == clip_frames for span in spans[:-1])
        assert 1 <= len(spans[-1]) <= clip_frames


def test_no_frames_are_no_clips() -> None:
    assert plan_clips(0, 12) == []


@pytest.mark.parametrize(("frames", "clip_frames"), [(-1, 12), (10, 0)])
def test_plan_refuses(frames: int, clip_frames: int) -> None:
    with pytest.raises(ConfigError):
        plan_clips(frames, clip_frames)


def test_frames_at_another_rate_are_those_shown_at_the_middle_of_each() -> None:
    assert frames_at_rate(7, Fraction(25), Fraction(25)) == list(range(7))
    assert frames_at_rate(3, Fraction(25), Fraction(50)) == [0, 0, 1, 1, 2, 2]
    assert frames_at_rate(6, Fraction(50), Fraction(25)) == [1, 3, 5]
    assert frames_at_rate(0, Fraction(25), Fraction(30)) == []
    for fps in COMMON_FPS:
        for count in range(1, 200):
            indices = frames_at_rate(count, fps, Fraction(25))
            assert abs(Fraction(len(indices), 25) - count / fps) <= Fraction(1, 50)
            for index, source in enumerate(indices[:-1]):
                assert source / fps <= (index + Fraction(1, 2)) / 25 < (source + 1) / fps
            assert indices == sorted(indices)
            assert not indices or 0 <= indices[-1] < count
