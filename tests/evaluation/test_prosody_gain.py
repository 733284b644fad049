"""Motions that follow the sound, the position in the clip, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from openemo.audio.audio_reader import Audio
from openemo.audio.prosody import measure_prosody
from openemo.evaluation.face_tracks import face_tracks
from openemo.evaluation.metrics.prosody_gain import (
    MOTIONS,
    DrivenClip,
    driven_motions,
    prosody_gain,
    sound_curves,
)
from openemo.evaluation.metrics.unseen_ridge import unseen_correlations
from openemo.evaluation.observation import Observation
from tests.evaluation.turned_landmarks import turned

Curve = NDArray[np.float64]
FRAMES, FPS = 150, 25.0


def noise(seed: int) -> Curve:
    smooth = gaussian_filter1d(np.random.default_rng(seed).standard_normal(FRAMES), 4)
    return np.asarray(smooth / smooth.std())


def clips(motion: Callable[[int, Curve], Curve], num_voices: int = 8) -> list[DrivenClip]:
    """Two people with each voice."""
    made = []
    for voice in range(num_voices):
        sound = np.stack([noise(3 * voice), noise(3 * voice + 1), noise(3 * voice + 2)], axis=1)
        made += [DrivenClip(motion(2 * voice + person, sound), sound, f"{voice}", FPS) for person in (0, 1)]
    return made


def test_a_motion_that_follows_the_sound_late() -> None:
    """By 0.16 s, with as much noise as motion: r is 0.7 at best."""
    made = clips(lambda number, sound: np.roll(sound[:, 1], 4) + noise(100 + number))
    found = prosody_gain(made)
    assert found.sound.value == pytest.approx(0.7, abs=0.12)
    assert found.position.value == pytest.approx(0, abs=0.15)
    assert found.other_sound.value == pytest.approx(0, abs=0.15)
    assert found.gain.low is not None
    assert found.gain.low > 0.3
    assert found.gain.clips == 16
    assert set(found.gain_by_voice) == {f"{voice}" for voice in range(8)}


def test_a_motion_that_follows_the_position_in_the_clip() -> None:
    wave = 2 * np.sin(np.arange(FRAMES) / 9)
    found = prosody_gain(clips(lambda number, _: wave + noise(100 + number)))
    assert found.position.value == pytest.approx(2**0.5 / 3**0.5, abs=0.12)
    assert found.gain.value is not None
    assert abs(found.gain.value) < 0.08
    assert found.other_sound.value == pytest.approx(found.position.value, abs=0.1)


def test_a_motion_that_follows_nothing() -> None:
    found = prosody_gain(clips(lambda number, _: noise(100 + number)))
    for estimate in (found.position, found.sound, found.other_sound):
        assert estimate.value == pytest.approx(0, abs=0.2)


def test_an_unseen_voice_needs_a_second_one() -> None:
    alone = clips(lambda number, _: noise(number), num_voices=1)
    assert prosody_gain(alone).gain.value is None


def test_clips_without_motion_and_frames_without_a_face_are_left_out() -> None:
    made = clips(lambda _, sound: sound[:, 0].copy())
    made[0] = replace(made[0], motion_F=np.zeros(FRAMES))
    made[3].motion_F[10:40] = np.nan
    found = prosody_gain(made)
    assert found.sound.clips == 15
    assert found.sound.value == pytest.approx(1, abs=0.03)


def test_ridge_needs_no_clip_of_its_own_group() -> None:
    """Each group has a predictor of its own: it would predict perfectly if it were in the fit."""
    rng = np.random.default_rng(5)
    folds = np.array([0, 0, 1, 1, 2, 2])
    rows, targets = [], []
    for fold in folds:
        target = rng.standard_normal(60)
        predictors = np.zeros((60, 3))
        predictors[:, fold] = target
        rows.append(predictors)
        targets.append(target)
    np.testing.assert_array_equal(unseen_correlations(rows, rows, targets, folds), 0)
    shared = [target[:, None] for target in targets]
    np.testing.assert_allclose(unseen_correlations(shared, shared, targets, folds), 1)


def test_curves_are_those_of_the_voice() -> None:
    """A tone of 150 Hz, a pause, the same an octave higher and 6 dB softer."""
    time = np.arange(16000) / 16000
    tones = [
        level * sum(np.sin(2 * np.pi * hz * harmonic * time) / harmonic for harmonic in range(1, 8))
        for hz, level in ((150.0, 0.3), (300.0, 0.15))
    ]
    samples = np.concatenate([tones[0], np.zeros(8000), tones[1]])[None].astype(np.float32)
    curves = sound_curves(measure_prosody(Audio(samples, 16000)).at(62, Fraction(25)))
    assert curves.shape == (62, 3)
    low, pause, high = curves[4:22], curves[28:35], curves[42:58]
    difference = high.mean(axis=0) - low.mean(axis=0)
    assert difference[:2] == pytest.approx([-0.6, 4], abs=0.1)
    assert low[:, 2].min() == high[:, 2].min() == 1
    assert pause[:, 2].max() == 0
    assert pause[:, 0].max() < low[:, 0].min() - 2


def test_motions_of_a_turning_head(clip: Callable[[Curve], Observation]) -> None:
    points = turned(clip(np.zeros(60)).points_px, np.outer(np.arange(60.0), [0, 0.2, 0]))
    motions = driven_motions(face_tracks(points, FPS))
    assert tuple(motions) == MOTIONS
    np.testing.assert_allclose(motions["head_speed"][5:-5], 5, rtol=0.02)
    assert np.ptp(motions["head_pitch"]) == pytest.approx(59 * 0.2, rel=0.02)
    assert np.ptp(motions["brows"]) < 1e-4
