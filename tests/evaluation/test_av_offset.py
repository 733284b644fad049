"""Offsets between picture and sound that a file adds by its timestamps."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openemo.audio.audio_reader import Audio
from openemo.errors import InputError
from openemo.evaluation.metrics.av_offset import picture_delay_ms
from openemo.video.video_writer import VideoWriter


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_our_own_files_have_no_delay(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    sound = Audio(np.random.default_rng(2).normal(0, 0.1, (1, 8_000)).astype(np.float32), 16_000)
    with VideoWriter(path, fps=Fraction(25), width=34, height=26, audio=sound) as video:
        for _ in range(12):
            video.write(np.zeros((26, 34, 3), np.uint8))
    assert picture_delay_ms(path) == pytest.approx(0, abs=1)  # Matroska counts milliseconds


@pytest.mark.parametrize("late", [1, 2, 5])
def test_planted_delay_is_found(tmp_path: Path, late: int) -> None:
    path = tmp_path / "late.mov"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 34, 26, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        noise = av.AudioFrame.from_ndarray(np.ones((1, 8_000), np.float32) / 10, "fltp", "mono")
        noise.sample_rate, noise.pts = 16_000, 0
        container.mux(sound.encode(noise))
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((26, 34, 3), 20 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index + late, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    assert picture_delay_ms(path) == pytest.approx(40 * late, abs=1)


def test_files_that_are_not_videos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(InputError, match="cannot be read as video"):
        picture_delay_ms(tmp_path / "text.mp4")
