"""What is drawn moves as people do, by person and voice, and each gain moves its own channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openemo.arrays import Doubles, Floats
from openemo.audio import Prosody, measure_prosody, read_audio
from openemo.behaviour import Behaviour, BehaviourSettings, draw_behaviour, style_of
from openemo.behaviour.gaze import EYE_WIDTHS_PER_DEGREE, towards_room
from openemo.behaviour.head_motion import HEAD_LIMITS
from openemo.errors import ConfigError

FPS = Fraction(25)
FRAMES = 200
CHANNELS = [field.name for field in fields(Behaviour)]
MINUTES = 10

Voices = Callable[[int], Prosody]


def draw(prosody: Prosody, num_frames: int = FRAMES, **changes: Any) -> Behaviour:
    return draw_behaviour(prosody, num_frames, **({"fps": FPS, "seed": 0, "person": 0} | changes))


def gains(**changes: Any) -> BehaviourSettings:
    return BehaviourSettings(**changes)


def speed_deg_s(behaviour: Behaviour) -> Doubles:
    return np.asarray(np.linalg.norm(np.diff(behaviour.head_F6[:, :3], axis=0), axis=1) * float(FPS))


def blinks_s(behaviour: Behaviour) -> Doubles:
    is_shut = behaviour.eyes_closed_F2.mean(1) > 0.5
    return np.flatnonzero(is_shut[1:] & ~is_shut[:-1]) / float(FPS)


def test_gains_of_zero_are_the_portrait_as_it_is(prosody_of: Voices) -> None:
    still = draw(
        prosody_of(1), settings=gains(head_motion=0, gaze=0, blinks_per_minute=0, brows=0, expression=0)
    )
    for name in CHANNELS:
        assert not getattr(still, name).any(), name


@pytest.mark.parametrize(
    ("gain", "moves"),
    [
        ("head_motion", {"head_F6", "torso_F2", "gaze_F2"}),  # eyes turn back by what the head turns
        ("gaze", {"gaze_F2"}),
        ("blinks_per_minute", {"eyes_closed_F2"}),
        ("brows", {"brows_F"}),
        ("expression", {"expression_FE"}),
    ],
)
def test_a_gain_moves_its_own_channel_alone(gain: str, moves: set[str], prosody_of: Voices) -> None:
    prosody = replace(prosody_of(1), arousal=0.5)
    usual, less = draw(prosody), draw(prosody, settings=gains(**{gain: 0.0}))
    changed = {name for name in CHANNELS if not np.array_equal(getattr(usual, name), getattr(less, name))}
    assert changed == moves


def test_eyes_turn_back_by_what_the_head_turns(prosody_of: Voices) -> None:
    usual, still = draw(prosody_of(1)), draw(prosody_of(1), settings=gains(head_motion=0))
    returned = (usual.gaze_F2 - still.gaze_F2) / EYE_WIDTHS_PER_DEGREE
    near = np.abs(usual.gaze_F2).max(1) < 0.05
    assert returned[near] == pytest.approx(-0.95 * usual.head_F6[near, :2] * (1, -1), abs=0.3)


def test_the_same_arguments_give_the_same_tracks_and_others_give_others(prosody_of: Voices) -> None:
    first = draw(prosody_of(1))
    for name in CHANNELS:
        assert np.array_equal(getattr(first, name), getattr(draw(prosody_of(1)), name))
    for changes in ({"seed": 1}, {"person": 1}, {"person": b"somebody"}):
        assert np.abs(draw(prosody_of(1), **changes).head_F6 - first.head_F6).max() > 1
    assert style_of(b"somebody") == style_of(b"somebody") != style_of(b"somebody else")


@pytest.mark.parametrize("what", ["persons", "voices"])
def test_tracks_of_two_people_or_two_voices_are_not_correlated(what: str, prosody_of: Voices) -> None:
    """With the same seed. The mean over some hundred pairs is known to 0.03 or so."""
    # In song all brows follow the tune.
    spoken = [replace(prosody_of(voice), is_song=False, beats_s=np.zeros(0)) for voice in range(10)]
    if what == "persons":
        groups = [[draw(spoken[voice], person=person) for person in range(10)] for voice in range(6)]
    else:
        groups = [[draw(spoken[voice], person=person) for voice in range(10)] for person in range(6)]
    tracks: dict[str, Callable[[Behaviour], Floats]] = {
        "yaw": lambda one: one.head_F6[:, 0],
        "pitch": lambda one: one.head_F6[:, 1],
        "brows": lambda one: one.brows_F,
        "gaze": lambda one: one.gaze_F2[:, 0],
    }
    for name, track in tracks.items():
        pairs = [pair for group in groups for pair in combinations(map(track, group), 2)]
        assert abs(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])) < 0.1, name
    first_s = {round(float(blinks_s(one)[0]), 2) for group in groups for one in group if len(blinks_s(one))}
    assert len(first_s) > 25


def test_eight_seconds_of_speech_move_a_person_as_people_do(voice_path: Path) -> None:
    prosody = measure_prosody(read_audio(voice_path))
    drawn = [draw(prosody, person=k) for k in range(30)]
    head = np.median([np.ptp(one.head_F6, axis=0) for one in drawn], axis=0)
    for value, (low, high) in zip(head[:3], ((6, 12), (6, 12), (4, 8)), strict=True):
        assert low < value < high
    assert 0.1 < np.hypot(*head[3:5]) < 0.25
    is_speech = prosody.at(FRAMES, FPS).is_speech_F[1:]
    assert 8 < np.median([speed_deg_s(one)[is_speech].mean() for one in drawn]) < 20
    torso = [np.linalg.norm(np.diff(one.torso_F2, axis=0), axis=1).mean() * 25 for one in drawn]
    assert 0.01 < np.median(torso) < 0.05
    assert 0.003 < np.median([one.brows_F.std() for one in drawn]) < 0.009
    assert 0.03 < np.median([one.gaze_F2[:, 0].std() for one in drawn]) < 0.08


def test_the_first_frame_is_the_portrait_and_motion_sets_in_softly(prosody_of: Voices) -> None:
    for person in range(10):
        drawn = draw(prosody_of(person), person=person)
        for name in CHANNELS:
            assert np.abs(getattr(drawn, name)[0]).max() < 1e-9, name
        assert np.abs(drawn.head_F6[:3, :3]).max() < 0.5


def test_motion_does_not_depend_on_the_frame_rate(prosody_of: Voices) -> None:
    slow = draw(prosody_of(2))
    fast = draw(prosody_of(2), num_frames=2 * FRAMES, fps=Fraction(50))
    for name in ("head_F6", "torso_F2", "brows_F", "gaze_F2", "expression_FE"):
        assert getattr(slow, name) == pytest.approx(getattr(fast, name)[::2], abs=1e-9), name


def test_the_head_rests_in_pauses(prosody_of: Voices) -> None:
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for person in range(8):
        prosody = prosody_of(person)
        drawn, is_speech = draw(prosody, person=person), prosody.at(FRAMES, FPS).is_speech_F[1:]
        # A pause of half a second has a quarter of a second in its middle.
        in_pause = np.convolve(is_speech, np.ones(7), "same") == 0
        speeds[True] += speed_deg_s(drawn)[is_speech].tolist()
        speeds[False] += speed_deg_s(drawn)[in_pause].tolist()
    assert np.mean(speeds[False]) < 0.5 * np.mean(speeds[True])


def test_head_speed_follows_the_voice_more_than_the_position_in_the_clip(shared_dir: Path) -> None:
    paths = sorted((shared_dir / "data/speech").glob("*.ogg"))[::4]
    assert len(paths) > 6
    by_voice, by_position, speeds = [], [], []
    grid = np.arange(FRAMES) / FRAMES
    for index, path in enumerate(paths):
        prosody = measure_prosody(read_audio(path))
        frames = prosody.at(FRAMES, FPS)
        sound = np.stack([frames.loudness_db_F / 30, frames.is_speech_F, frames.is_voiced_F], 1)
        by_voice.append(np.concatenate([np.roll(sound, shift, 0) for shift in (-6, -3, 0, 3, 6)], 1)[1:])
        by_position.append(np.stack([np.cos(np.pi * k * grid) for k in range(1, 9)], 1)[1:])
        speeds.append(np.log(speed_deg_s(draw(prosody, person=index)) + 1))
    assert explained(by_voice, speeds) > explained(by_position, speeds) + 0.2


def explained(inputs: list[Doubles], outputs: list[Doubles]) -> float:
    """Mean correlation with what a ridge regression on the other clips says."""
    scores = []
    for left_out in range(len(inputs)):
        x = np.concatenate([one for k, one in enumerate(inputs) if k != left_out])
        y = np.concatenate([one for k, one in enumerate(outputs) if k != left_out])
        x1, test = (np.column_stack([one, np.ones(len(one))]) for one in (x, inputs[left_out]))
        weights = np.linalg.solve(x1.T @ x1 + np.eye(x1.shape[1]), x1.T @ y)
        scores.append(np.corrcoef(test @ weights, outputs[left_out])[0, 1])
    return float(np.mean(scores))


def test_ten_minutes_stay_within_limits_and_do_not_drift(prosody_of: Voices) -> None:
    names = ("loudness_db_F", "pitch_semitones_F", "is_voiced_F", "is_speech_F")
    repeated: Any = {name: np.tile(getattr(prosody_of(3), name), MINUTES * 8) for name in names}
    drawn = draw(
        replace(prosody_of(3), **repeated), num_frames=MINUTES * 60 * 25, settings=gains(head_motion=2)
    )
    for axis, (low, high) in enumerate(HEAD_LIMITS):
        assert low < drawn.head_F6[:, axis].min() < drawn.head_F6[:, axis].max() < high
    minutes = drawn.head_F6[:, :3].reshape(MINUTES, -1, 3).mean(1)
    assert np.abs(minutes).max() < 3
    assert np.abs(np.diff(drawn.head_F6[:, :3], 2, axis=0)).max() * 625 < 4000  # degrees per second, squared


def test_somebody_who_is_silent_is_alive_and_calm(silent_prosody: Prosody) -> None:
    for person in range(6):
        drawn = draw(silent_prosody, num_frames=500, person=person)
        assert 0.4 < np.ptp(drawn.head_F6[:, :3], axis=0).max() < 6
        assert speed_deg_s(drawn).mean() < 2
        assert len(blinks_s(drawn)) >= 2
        assert np.ptp(drawn.gaze_F2[:, 0]) > 0.02
        assert np.ptp(drawn.torso_F2[:, 1]) > 0.005  # breath
        assert not drawn.expression_FE.any()


@pytest.mark.parametrize("rate", [8.0, 20.0, 30.0])
def test_blinks_come_as_often_as_asked_in_log_normal_intervals(rate: float, silent_prosody: Prosody) -> None:
    drawn = draw(silent_prosody, num_frames=MINUTES * 60 * 25, settings=gains(blinks_per_minute=rate))
    times_s = blinks_s(drawn)
    # A few hundred intervals: the standard deviation of the mean is under 6 %.
    assert len(times_s) / MINUTES == pytest.approx(rate, rel=0.18)
    logs = np.log(np.diff(times_s))
    assert 0.3 < logs.std() < 0.8
    assert abs(((logs - logs.mean()) ** 3).mean()) < 0.7 * logs.std() ** 3  # an exponential has -1.1


def test_people_blink_twelve_to_thirty_times_a_minute() -> None:
    rates = [style_of(person).blinks_per_minute for person in range(200)]
    assert 12 <= min(rates) < 14
    assert 26 < max(rates) <= 30
    assert 17 < np.median(rates) < 21


def test_a_blink_shuts_both_eyes_in_some_frame_and_one_a_little_before_the_other(
    silent_prosody: Prosody,
) -> None:
    drawn = draw(silent_prosody, num_frames=MINUTES * 60 * 25, settings=gains(blinks_per_minute=20))
    frames = np.round(blinks_s(drawn) * 25).astype(int)
    peaks = np.stack([drawn.eyes_closed_F2[frame : frame + 6].max(0) for frame in frames[:-1]])
    assert peaks.max(1).min() > 0.99
    assert peaks.min() > 0.9
    assert 0.01 < np.abs(np.diff(drawn.eyes_closed_F2, axis=1)).max() < 0.12  # no still shows a wink


def test_blinks_seek_the_ends_of_phrases(prosody_of: Voices) -> None:
    near, expected = 0, 0.0
    for person in range(40):
        prosody = prosody_of(person % 8)
        ends_s = prosody.phrases_s[:-1, 1]
        near += int(
            sum(
                np.abs(ends_s - time_s - 0.1).min() < 0.3 for time_s in blinks_s(draw(prosody, person=person))
            )
        )
        expected += len(blinks_s(draw(prosody, person=person))) * len(ends_s) * 0.6 / 8
    assert near > 1.5 * expected


def test_people_look_at_the_camera_about_half_of_the_time(prosody_of: Voices) -> None:
    shares = []
    for person in range(40):
        drawn = draw(prosody_of(person % 8), person=person, settings=gains(head_motion=0))
        shares.append((np.linalg.norm(drawn.gaze_F2, axis=1) < 3 * EYE_WIDTHS_PER_DEGREE).mean())
    assert 0.38 < np.mean(shares) < 0.65


def test_eyes_go_more_often_to_the_side_on_which_there_is_room(prosody_of: Voices) -> None:
    """Irises that are to the right of the middle have none there."""
    means = {}
    for offset in (-0.06, 0.06):
        tracks = []
        for person in range(20):
            style = style_of(person)
            style = replace(style, gaze_directions=towards_room(style.gaze_directions, offset))
            drawn = draw(prosody_of(person % 8), person=person, style=style, settings=gains(head_motion=0))
            tracks.append(drawn.gaze_F2[:, 0].mean())
        means[offset] = np.mean(tracks)
    assert means[0.06] < -0.01 < 0.01 < means[-0.06]
    unchanged = towards_room(style_of(1).gaze_directions, 0.0)
    assert unchanged == pytest.approx(style_of(1).gaze_directions)


def test_a_singer_sways_with_the_beat_and_the_brows_follow_the_tune(prosody_of: Voices) -> None:
    beats_s = np.arange(0.2, 8, 0.6)
    spoken = replace(prosody_of(4), beats_s=np.zeros(0))
    sung = replace(spoken, is_song=True, beats_s=beats_s)
    times_s = np.arange(FRAMES) / float(FPS)
    sway = np.exp(1j * np.pi * (times_s - 0.2) / 0.6)
    pitch = spoken.at(FRAMES, FPS).pitch_semitones_F

    def strength(prosody: Prosody) -> float:
        rolls = [draw(prosody, person=person).head_F6[:, 2] for person in range(12)]
        return float(np.median([abs((roll * sway).mean()) for roll in rolls]))

    def following(prosody: Prosody) -> float:
        brows = [draw(prosody, person=person).brows_F for person in range(12)]
        return float(np.mean([np.corrcoef(track, pitch)[0, 1] for track in brows]))

    assert strength(sung) > 1.5 * strength(spoken)
    assert following(sung) > following(spoken) + 0.05


@pytest.mark.parametrize(
    ("name", "value"),
    [("head_motion", -0.1), ("gaze", 3.5), ("brows", float("nan")), ("blinks_per_minute", 61)],
)
def test_a_gain_out_of_range_is_an_error(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` is out of range"):
        gains(**{name: value})


def test_no_frame_is_no_behaviour(prosody_of: Voices) -> None:
    assert len(draw(prosody_of(1), num_frames=0)) == 0
    assert len(draw(prosody_of(1), num_frames=1)) == 1
