"""Motion of a clip: heads that are turned by formulas, and real clips."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from openemo.arrays import Doubles
from openemo.audio import Prosody
from openemo.behaviour import clip_behaviour, clip_style, draw_behaviour, style_of
from openemo.behaviour.motion_from_clip import read_behaviour
from openemo.data.landmark_tracks import decode_frames, track_clip
from openemo.errors import FaceError
from openemo.face import FaceAnalyzer, face_width_px, head_pose
from openemo.face.landmarks import BROWS, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from openemo.video.images import read_image

FPS = Fraction(25)


def turn(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Doubles:
    """Rz(roll) Rx(pitch) Ry(yaw) with the signs of `HeadPose`."""
    (sy, sp, sr), (cy, cp, cr) = (f(np.radians((yaw_deg, pitch_deg, roll_deg))) for f in (np.sin, np.cos))
    yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(roll @ pitch @ yaw)


@pytest.fixture(scope="module")
def face(face_analyzer: FaceAnalyzer, portrait_path: Path) -> Doubles:
    """(478, 3) landmarks of a portrait, turned to look straight."""
    points = face_analyzer.find(read_image(portrait_path)).points_px.astype(np.float64)
    pose = head_pose(points)
    straight = (points - points.mean(0)) @ turn(pose.yaw_deg, pose.pitch_deg, pose.roll_deg)
    assert abs(head_pose(straight).yaw_deg) < 1e-6
    return np.asarray(straight + 500)


def moved(face: Doubles, head_F6: Doubles) -> Doubles:
    """The face about the pivot that `Behaviour` names, in each frame."""
    width = face_width_px(face)
    ears = face[[234, 454]].mean(0)
    pivot = np.array([ears[0], face[152, 1] + 0.15 * width, ears[2] + 0.1 * width])
    frames = [
        np.exp(closer) * (face - pivot) @ turn(yaw, pitch, roll).T
        + pivot
        + width * np.array([right, down, 0])
        for yaw, pitch, roll, right, down, closer in head_F6
    ]
    return np.stack(frames)


def motion(num_frames: int) -> Doubles:
    """(F, 6), slow, each axis of its own."""
    times_s = np.arange(num_frames) / float(FPS)
    waves = np.sin(np.outer(times_s, (2.0, 3.0, 2.4, 1.5, 1.9, 1.1)) + np.arange(6))
    return np.asarray(waves * (4, 3, 2.5, 0.05, 0.04, 0.03))


def test_the_head_is_read_as_it_was_turned(face: Doubles) -> None:
    head = motion(100)
    read = read_behaviour(moved(face, head), FPS)
    expected = head - np.median(head, axis=0)
    assert read.head_F6[:, :3] == pytest.approx(expected[:, :3], abs=0.4)
    assert read.head_F6[:, 3:] == pytest.approx(expected[:, 3:], abs=0.006)
    for name in ("brows_F", "gaze_F2", "eyes_closed_F2"):
        assert np.abs(getattr(read, name)).max() < 0.02, name
    assert read.torso_F2.std(0).min() > 0.002


def test_brows_gaze_and_blinks_are_read_in_their_units_while_the_head_turns(face: Doubles) -> None:
    frames = moved(face, np.zeros((100, 6)))
    width = face_width_px(face)
    eye = float(np.linalg.norm(face[33] - face[133]))
    frames[20:40, list(BROWS), 1] -= 0.01 * width
    frames[50:70, list(RIGHT_IRIS + LEFT_IRIS), 0] += 0.08 * eye
    # The person's right eye is on the left of the picture.
    frames[80:84, list(RIGHT_EYE), 1] = frames[80, list(RIGHT_EYE), 1].mean()
    rotated = np.stack([one @ turn(5, 4, 3).T for one in frames])
    for read in (read_behaviour(frames, FPS), read_behaviour(rotated, FPS)):
        assert read.brows_F[25:35] == pytest.approx(0.01, rel=0.1)
        assert read.gaze_F2[55:65, 0] == pytest.approx(0.08, rel=0.2)
        assert np.abs(read.gaze_F2[55:65, 1]).max() < 0.01
        assert read.eyes_closed_F2[81:83, 0] == pytest.approx(1)
        assert read.eyes_closed_F2[81:83, 1] == pytest.approx(0, abs=0.05)
        assert np.abs(read.head_F6[:, :3]).max() < 0.1


def test_a_short_clip_is_repeated_without_a_jump(face: Doubles) -> None:
    points = moved(face, motion(90))
    clip = read_behaviour(points, FPS)
    long = clip_behaviour(points, FPS, 30 * 30, Fraction(30))
    assert len(long) == 900
    assert (np.abs(np.diff(long.head_F6, axis=0)).max(0) < 0.1 * np.ptp(clip.head_F6, axis=0)).all()
    for name in ("head_F6", "gaze_F2", "brows_F", "eyes_closed_F2"):
        assert not getattr(long, name)[0].any()
    # It goes on to the end.
    assert long.head_F6[-200:, 0].std() > 0.5 * clip.head_F6[:, 0].std()


@pytest.mark.parametrize(("longer", "padding"), [(0, 0), (0, 11), (1, 11), (-1, 0)])
def test_a_clip_as_long_as_the_voice_is_shown_to_its_end(face: Doubles, longer: int, padding: int) -> None:
    """Frames beyond the video, which the last clip of latents has, change nothing in it."""
    points = moved(face, motion(75))
    shown = 75 - longer
    taken = clip_behaviour(points, FPS, shown + padding, FPS, num_shown=shown)
    read = read_behaviour(points, FPS)
    assert len(taken) == shown + padding
    frames = slice(20, min(shown, 75))  # it starts from the portrait's pose
    np.testing.assert_allclose(taken.head_F6[frames], read.head_F6[frames], atol=1e-9)


def test_another_frame_rate_shows_the_same_moments(face: Doubles) -> None:
    points = moved(face, motion(100))
    same, twice = (clip_behaviour(points, FPS, 50 * k, k * FPS) for k in (1, 2))
    assert same.head_F6 == pytest.approx(twice.head_F6[::2])
    clip = read_behaviour(points, FPS)
    assert same.head_F6[20:50] == pytest.approx(clip.head_F6[20:50])


def test_frames_without_a_face_are_bridged_and_too_few_are_an_error(face: Doubles) -> None:
    points = moved(face, motion(100))
    gaps = points.copy()
    gaps[40:44] = np.nan
    whole, bridged = read_behaviour(points, FPS), read_behaviour(gaps, FPS)
    assert bridged.head_F6[:, 0] == pytest.approx(whole.head_F6[:, 0], abs=0.6)
    gaps[:60] = np.nan
    for few in (gaps, points[:20]):
        with pytest.raises(FaceError, match="too little of a face"):
            clip_behaviour(few, FPS, 50, FPS)


def test_a_cut_is_no_jump_of_the_head(face: Doubles) -> None:
    """The next shot shows the same person closer, elsewhere, with the eyes to the side."""
    points = moved(face, motion(100))
    cut = points.copy()
    cut[50:] = 1.8 * cut[50:] + 400
    whole, read = (read_behaviour(shots, FPS) for shots in (points, cut))
    for name in ("head_F6", "gaze_F2", "brows_F"):
        steps, usual = (np.abs(np.diff(getattr(one, name), axis=0)).max(0) for one in (read, whole))
        assert (steps < 3 * usual + 1e-3).all(), name
    assert np.ptp(read.head_F6[70:, 0]) == pytest.approx(np.ptp(whole.head_F6[70:, 0]), rel=0.1)


def test_single_frames_are_no_motion(face: Doubles) -> None:
    with pytest.raises(FaceError, match="too little of a face"):
        clip_behaviour(face[None], Fraction(1, 3600), 50, FPS)


def test_the_style_of_a_lively_clip_is_livelier(face: Doubles, prosody_of: Callable[[int], Prosody]) -> None:
    lively, calm = (clip_style(moved(face, gain * motion(250)), FPS, style_of(1)) for gain in (1.5, 0.3))
    assert min(a / b for a, b in zip(lively.head_range, calm.head_range, strict=True)) > 2
    assert lively.sway > 2 * calm.sway
    assert lively.nods == calm.nods == style_of(1).nods
    assert sum(lively.gaze_directions) == pytest.approx(1)
    ranges = [
        np.ptp(draw_behaviour(prosody_of(1), 200, FPS, seed=0, person=0, style=style).head_F6[:, :3])
        for style in (lively, calm)
    ]
    assert ranges[0] > 1.5 * ranges[1]


def test_a_real_speaker_is_read_within_human_ranges(shared_dir: Path, face_analyzer: FaceAnalyzer) -> None:
    frames = decode_frames(shared_dir / "data/grid/s1/bbaf2n.mp4")[::2]
    read = read_behaviour(track_clip(frames, face_analyzer).points_px, FPS / 2)
    ranges = np.ptp(read.head_F6, axis=0)
    assert (ranges[:3] > 0.3).all()
    assert (ranges[:3] < 8).all()
    assert (ranges[3:5] < 0.15).all()
    assert 0.0003 < read.brows_F.std() < 0.01
    assert 0.9 < read.eyes_closed_F2.max() <= 1  # he blinks in each sentence
    assert np.median(read.eyes_closed_F2) < 0.2
