"""What an observer finds in a video, and reading a video at another frame rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from openemo.audio.audio_reader import Audio
from openemo.errors import InputError
from openemo.evaluation.observation import Observation, Observer
from openemo.face.landmarks import mouth_opening
from openemo.video.video_writer import VideoWriter

Clip = Callable[[NDArray[np.float64]], Observation]


def test_frames_with_and_without_a_face(observer: Observer, portrait: Observation) -> None:
    image = portrait.frames[0]
    seen = observer([image, np.full_like(image, 90), image], 25, None)
    assert len(seen) == 3
    assert seen.has_face.tolist() == [True, False, True]
    assert seen.points_px.shape == (3, 478, 3)
    assert seen.blendshapes.shape == (3, 52)
    assert seen.embeddings.shape == (3, 128)
    for values in (seen.points_px, seen.blendshapes, seen.embeddings):
        assert values.dtype == np.float32
        assert np.isnan(values[1]).all()
        assert np.isfinite(values[[0, 2]]).all()
    np.testing.assert_array_equal(seen.points_px[0], portrait.points_px[0])
    assert np.isnan(seen.curve(mouth_opening)[1])


def test_a_still_does_not_move(observer: Observer, portrait: Observation) -> None:
    seen = observer(portrait.frames * 4, 25, None)
    assert np.ptp(seen.points_px, axis=0).max() == 0
    assert np.ptp(seen.blendshapes, axis=0).max() == 0


def test_frames_must_exist_and_be_of_one_size(observer: Observer, portrait: Observation) -> None:
    with pytest.raises(InputError, match="there are no frames"):
        observer([], 25, None)
    with pytest.raises(InputError, match="frames differ in size"):
        observer([portrait.frames[0], portrait.frames[0][:100]], 25, None)


def test_file_is_observed_with_its_sound(observer: Observer, portrait: Observation, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    sound = Audio(np.zeros((1, 4000), np.float32), 16000)
    with VideoWriter(path, fps=Fraction(20), width=320, height=300, audio=sound) as video:
        for _ in range(5):
            video.write(portrait.frames[0])
    seen = observer.file(path)
    assert len(seen) == 5
    assert seen.fps == 20
    assert seen.audio is not None


def test_at_another_rate_the_frames_are_those_shown_then(clip: Clip) -> None:
    seen = clip(np.arange(10) / 100)
    assert seen.at_fps(25.01) is seen
    half = seen.at_fps(12.5)
    assert half.fps == 12.5
    np.testing.assert_array_equal(half.points_px, seen.points_px[1::2])
    double = seen.at_fps(50)
    np.testing.assert_array_equal(double.points_px, np.repeat(seen.points_px, 2, axis=0))
    thirty = replace(seen, fps=30.0).at_fps(25)
    assert len(thirty) == 8  # a third of a second
    first = seen.first()
    assert len(first) == 1
    assert first.audio is None
