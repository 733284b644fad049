"""Somebody whose voice comes bit by bit moves as people do, and never stops."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest

from openemo.audio.live_voice import Heard
from openemo.behaviour import Behaviour, BehaviourSettings, style_of
from openemo.behaviour.head_motion import HEAD_LIMITS
from openemo.behaviour.live_behaviour import LiveBehaviour

FPS = Fraction(25)


def heard(times_s: np.ndarray, *, talks: bool) -> Heard:
    """A voice that says something for two seconds and pauses for one, or nothing."""
    is_speech = (times_s % 3 < 2) & talks
    now_s, last_s = float(times_s[0]), float(times_s[-1]) + 0.04
    starts, ends = ((at,) if talks and (last_s - at) % 3 < last_s - now_s else () for at in (0.0, 2.0))
    return Heard(
        loudness_db_F=np.where(is_speech, 2 * np.sin(9 * times_s), -60.0),
        pitch_semitones_F=np.where(is_speech, 2 * np.sin(3 * times_s), 0.0),
        is_speech_F=is_speech,
        accents=((now_s, 0.5, 2.0),) if is_speech.any() and (now_s % 0.5) < 0.16 else (),
        starts_s=tuple(now_s for _ in starts),
        ends_s=tuple(now_s for _ in ends),
        is_talking=talks,
        arousal=0.3,
    )


def play(seconds: float, *, talks: bool, seed: int = 0, clip: int = 4, **gains: float) -> Behaviour:
    live = LiveBehaviour(
        FPS, seed=seed, person=b"somebody", settings=BehaviourSettings(**gains), style=style_of(b"somebody")
    )
    parts = []
    for _ in range(round(seconds * FPS) // clip):
        parts.append(live.advance(clip, heard(live.times_s(clip), talks=talks)))
    names = Behaviour.__dataclass_fields__
    return Behaviour(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@pytest.fixture(scope="module")
def talking() -> Behaviour:
    return play(90, talks=True)


@pytest.fixture(scope="module")
def idle() -> Behaviour:
    return play(90, talks=False)


def test_the_first_frame_is_the_portrait(talking: Behaviour) -> None:
    for name in Behaviour.__dataclass_fields__:
        assert np.allclose(getattr(talking, name)[0], 0), name


def test_a_talker_moves_as_people_do(talking: Behaviour) -> None:
    low, high = np.percentile(talking.head_F6[:, :3], (2.5, 97.5), axis=0)
    assert np.all(high - low > (4, 3, 2.5))
    low, high = np.array(HEAD_LIMITS).T
    assert np.all((talking.head_F6 >= low) & (talking.head_F6 <= high))
    assert 0.002 < talking.brows_F.std() < 0.01
    assert talking.expression_FE.max() > 0.02


def test_a_listener_lives(idle: Behaviour, talking: Behaviour) -> None:
    """Blinks, gaze and breath go on; the head rests, but is never still."""
    blinks = np.sum(np.diff((idle.eyes_closed_F2[:, 0] > 0.5).astype(int)) == 1)
    assert 10 < blinks < 50  # in a minute and a half
    assert idle.gaze_F2[:, 0].std() > 0.002
    assert np.sum(np.diff(np.sign(np.diff(np.round(idle.torso_F2[:, 1], 3)))) != 0) > 15
    steps = np.abs(np.diff(idle.head_F6[:, :3], axis=0)).sum(1)
    assert np.all(steps[25:] > 0)
    assert steps.mean() < 0.5 * np.abs(np.diff(talking.head_F6[:, :3], axis=0)).sum(1).mean()


def test_motion_has_no_joints(talking: Behaviour) -> None:
    """Between two clips the tracks change no more than within one."""
    for track in (talking.head_F6, talking.torso_F2, talking.brows_F[:, None]):
        steps = np.abs(np.diff(track, axis=0)).sum(1)
        joint = np.arange(1, len(track)) % 4 == 0
        assert steps[joint].mean() < 1.15 * steps[~joint].mean()


def test_a_seed_means_one_behaviour() -> None:
    first, again, other = (play(12, talks=True, seed=seed).head_F6 for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_gains_of_zero_are_stillness() -> None:
    still = play(8, talks=True, head_motion=0, gaze=0, brows=0, expression=0, blinks_per_minute=0)
    for name in Behaviour.__dataclass_fields__:
        assert np.allclose(getattr(still, name), 0), name


def test_an_emotion_comes_and_goes() -> None:
    live = LiveBehaviour(FPS, seed=0, person=1, settings=BehaviourSettings(), style=style_of(1))
    live.set_emotion("sad", 0.8)

    def silence(count: int) -> Heard:
        return heard(live.times_s(count), talks=False)

    assert live.advance(25, silence(25)).expression_FE[-1].max() == pytest.approx(0.8)
    live.set_emotion("neutral", 0.8)
    assert live.advance(25, silence(25)).expression_FE[-1].max() == pytest.approx(0)


def test_memory_does_not_grow() -> None:
    live = LiveBehaviour(FPS, seed=0, person=1, settings=BehaviourSettings(), style=style_of(1))
    sizes = []
    for _ in range(4):
        for _ in range(200):
            live.advance(4, heard(live.times_s(4), talks=True))
        sizes.append(len(pickle.dumps(live)))
    assert max(sizes) < 1.2 * sizes[0] + 40_000  # noise is drawn in blocks of 12 kB
    assert max(sizes) < 200_000
