"""The rows of the table: frozen, silence, another voice, and made videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openemo.audio.audio_reader import Audio, read_audio
from openemo.evaluation.observation import Observation
from openemo.evaluation.rows import as_long_as, frozen, make_video, silence_like
from openemo.pipeline import EmoPipeline
from openemo.video.images import read_image
from openemo.video.video_reader import probe


def test_frozen_is_the_first_frame_for_as_long_as_the_clip() -> None:
    rng = np.random.default_rng(3)
    real = Observation(
        frames=tuple(rng.integers(0, 255, (5, 26, 34, 3), np.uint8)),
        fps=25.0,
        points_px=rng.random((5, 478, 3), np.float32),
        blendshapes=rng.random((5, 52), np.float32),
        embeddings=rng.random((5, 128), np.float32),
        audio=Audio(np.zeros((1, 3200), np.float32), 16_000),
    )
    still = frozen(real)
    assert len(still) == 5
    assert all(np.array_equal(frame, real.frames[0]) for frame in still.frames)
    for name in ("points_px", "blendshapes", "embeddings"):
        values = getattr(still, name)
        assert values.shape == getattr(real, name).shape
        assert (values == getattr(real, name)[0]).all()
    assert still.audio is real.audio


@pytest.mark.parametrize("num_samples", [1_000, 30_000])
def test_another_voice_is_made_as_long_as_the_clips(num_samples: int) -> None:
    voice = Audio(np.random.default_rng(1).normal(0, 0.1, (2, num_samples)).astype(np.float32), 16_000)
    fitted = as_long_as(voice, Audio(np.zeros((1, 44_100 // 2), np.float32), 44_100))
    assert (fitted.num_channels, fitted.num_samples, fitted.sample_rate_hz) == (2, 8_000, 16_000)
    kept = min(num_samples, 8_000)
    assert np.array_equal(fitted.samples[:, :kept], voice.samples[:, :kept])
    assert not fitted.samples[:, kept:].any()


def test_silence_is_as_long_as_the_voice() -> None:
    silence = silence_like(Audio(np.ones((2, 70), np.float32), 8_000))
    assert (silence.samples.shape, silence.sample_rate_hz) == ((2, 70), 8_000)
    assert not silence.samples.any()


def test_made_videos_have_the_clips_rate_and_exact_sound(
    tiny_pipeline: EmoPipeline, portrait_path: Path, voice_path: Path, tmp_path: Path
) -> None:
    portrait = np.ascontiguousarray(read_image(portrait_path)[::3, ::3])
    voice = read_audio(voice_path)
    sound = Audio(voice.samples[:, : voice.sample_rate_hz * 3 // 10], voice.sample_rate_hz)
    path = tmp_path / "made.mov"
    cost = make_video(tiny_pipeline, portrait, sound, path, fps=Fraction(30), seed=3)
    info = probe(path)
    assert (info.fps, info.num_frames) == (Fraction(30), 9)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name.startswith("pcm")
    # 16 bit: half a step of rounding.
    assert np.abs(read_audio(path).samples - sound.samples).max() < 1 / 32_000
    assert cost["speed_s_per_s"] * float(9 / info.fps) >= cost["speed_first_frame_s"] > 0
    assert cost["speed_peak_memory_mb"] > 50  # the interpreter and torch alone take more
