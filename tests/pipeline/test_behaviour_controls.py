"""Each control moves its own part of the face and no other; neutral values leave the portrait as it is."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openemo.arrays import Doubles, Floats
from openemo.audio import Audio, read_audio
from openemo.behaviour import EMOTIONS, Behaviour
from openemo.behaviour.gaze import EYE_WIDTHS_PER_DEGREE
from openemo.behaviour.motion_from_clip import read_behaviour
from openemo.errors import ConfigError, FaceError, InputError
from openemo.face import FaceAnalyzer, head_pose
from openemo.models.image_autoencoder import ImageAutoencoder
from openemo.pipeline import EmoPipeline
from openemo.pipeline.motion_clip import MotionClip, read_motion_clip
from openemo.pipeline.portrait import PreparedPortrait
from openemo.video.images import read_image

LIVELY: dict[str, Any] = dict(head_motion=1.0, gaze=1.0, blinks_per_minute=30.0, brows=1.0, expression=1.0)
NEUTRAL: dict[str, Any] = dict.fromkeys(LIVELY, 0.0)


@pytest.fixture(scope="module")
def voice(voice_path: Path) -> Audio:
    whole = read_audio(voice_path)
    return Audio(whole.samples[:, : 3 * whole.sample_rate_hz], whole.sample_rate_hz)


@pytest.fixture(scope="module")
def portrait(tiny_pipeline: EmoPipeline, portrait_path: Path) -> PreparedPortrait:
    picture = np.ascontiguousarray(read_image(portrait_path)[::4, ::4])
    return tiny_pipeline.prepare_portrait(picture, framing="crop", size_px=64)


@pytest.fixture(scope="module")
def lively(tiny_pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait) -> Behaviour:
    return behave(tiny_pipeline, voice, portrait)


def behave(pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait, **changes: Any) -> Behaviour:
    """Behaviour with some controls changed; those that the settings do not have are arguments."""
    settings = LIVELY | {name: value for name, value in changes.items() if name in LIVELY}
    arguments = {name: value for name, value in changes.items() if name not in LIVELY}
    config = pipeline.config.override(**settings)
    return pipeline.prepare_behaviour(voice, portrait, seed=3, config=config, **arguments)


def changed(one: Behaviour, other: Behaviour) -> set[str]:
    return {
        field.name
        for field in fields(Behaviour)
        if not np.array_equal(getattr(one, field.name), getattr(other, field.name))
    }


def assert_neutral(behaviour: Behaviour) -> None:
    assert len(behaviour) > 0
    assert changed(behaviour, Behaviour.neutral(len(behaviour))) == set()


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"head_motion": 1.5}, {"head_F6", "torso_F2", "gaze_F2"}),
        ({"gaze": 0.5}, {"gaze_F2"}),
        ({"brows": 1.5}, {"brows_F"}),
        ({"blinks_per_minute": 0.0}, {"eyes_closed_F2"}),
        ({"emotion": "sad"}, {"expression_FE"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_control_moves_its_own_part(
    tiny_pipeline: EmoPipeline,
    voice: Audio,
    portrait: PreparedPortrait,
    lively: Behaviour,
    change: dict[str, Any],
    parts: set[str],
) -> None:
    assert changed(behave(tiny_pipeline, voice, portrait, **change), lively) == parts


def test_eyes_turn_back_by_what_the_head_turns(
    tiny_pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait, lively: Behaviour
) -> None:
    still = behave(tiny_pipeline, voice, portrait, head_motion=0.0)
    assert not still.head_F6.any()
    assert not still.torso_F2.any()
    yaw_deg, pitch_deg = lively.head_F6[:, 0], lively.head_F6[:, 1]
    right, down = (lively.gaze_F2 - still.gaze_F2).T
    for gaze, turned_deg in ((right, -yaw_deg), (down, pitch_deg)):
        assert np.corrcoef(gaze, turned_deg)[0, 1] > 0.9
        slope = float(gaze @ turned_deg / (turned_deg @ turned_deg))
        assert slope == pytest.approx(
            0.95 * EYE_WIDTHS_PER_DEGREE, rel=0.2
        )  # less where the eyes are far out
    # Eyes that do not look anywhere stay in the head.
    for gain in (0.0, 1.0):
        assert not behave(tiny_pipeline, voice, portrait, gaze=0.0, head_motion=gain).gaze_F2.any()


def test_neutral_values_leave_the_portrait_as_it_is(
    tiny_pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait
) -> None:
    assert_neutral(behave(tiny_pipeline, voice, portrait, **NEUTRAL))
    assert_neutral(behave(tiny_pipeline, voice, portrait, **NEUTRAL, emotion=[(1.0, "neutral", 0.7)]))


def test_an_emotion_comes_with_the_strength_that_is_asked_for(
    tiny_pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait
) -> None:
    asked = behave(
        tiny_pipeline, voice, portrait, **NEUTRAL, emotion=[(0.0, "angry", 1.0), (1.5, "smug", 0.5)],
        emotion_strength=0.8,
    )  # fmt: skip
    assert changed(asked, Behaviour.neutral(len(asked))) == {"expression_FE"}
    strengths = dict(zip(EMOTIONS, asked.expression_FE.T, strict=True))
    assert not asked.expression_FE[0].any()
    assert strengths["angry"][30] == pytest.approx(0.8)
    assert strengths["smug"][60] == pytest.approx(0.4)
    assert strengths["angry"][60] == pytest.approx(0)
    with pytest.raises(ConfigError, match="the emotion is unknown"):
        behave(tiny_pipeline, voice, portrait, emotion="joyful")


@pytest.mark.parametrize(
    ("control", "name"),
    [
        ({"emotion": "happy"}, "emotion"),
        ({"emotion": [(0.0, "sad", 1.0)]}, "emotion"),
        ({"motion_from": "clip.mp4"}, "motion from a clip"),
        ({"motion_style_from": "clip.mp4"}, "motion style from a clip"),
        ({"gaze": 1.0}, "gaze 1"),
        ({"brows": 0.5}, "brows 0.5"),
    ],
)
def test_models_that_draw_whole_frames_have_no_such_control(
    tiny_pipeline: EmoPipeline, voice: Audio, portrait_path: Path, control: dict[str, Any], name: str
) -> None:
    pipeline = EmoPipeline(
        tiny_pipeline.unet,
        tiny_pipeline.reference_net,
        ImageAutoencoder(block_out_channels=(4, 4, 4, 4), norm_num_groups=2, layers_per_block=1),
        tiny_pipeline.scheduler,
        tiny_pipeline.speech_encoder,
        tiny_pipeline.face_analyzer,
        tiny_pipeline.config.override(**NEUTRAL),
    )
    with pytest.raises(ConfigError, match=rf"no such control; got {name}\. Leave"):
        pipeline(portrait_path, voice, **control)


@pytest.fixture(scope="module")
def clip(shared_dir: Path, face_analyzer: FaceAnalyzer) -> MotionClip:
    path = shared_dir / "data/grid/s1/bbaf2n.mp4"
    if not path.is_file():
        pytest.skip("the clips of GRID are not in the data folder `shared`")
    return read_motion_clip(path, face_analyzer, duration_s=1.0)


@pytest.mark.slow
def test_a_clip_moves_the_head_as_its_own_landmarks_do(
    tiny_pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait, clip: MotionClip
) -> None:
    voice = Audio(voice.samples[:, : 2 * voice.sample_rate_hz], voice.sample_rate_hz)  # shorter than the clip
    assert clip.points_px_FK3.shape == (75, 478, 3)  # all of it: a short voice takes up to 10 s
    taken = behave(tiny_pipeline, voice, portrait, motion_from=clip)
    read = read_behaviour(clip.points_px_FK3, clip.fps)
    after = slice(20, 50)  # it starts from the portrait's pose

    def centred(track: Floats) -> Doubles:
        return np.asarray(track[after] - track[after].mean(0))

    np.testing.assert_allclose(taken.head_F6[after], read.head_F6[after], atol=1e-9)
    # The same frames by the pose of single ones, and by the line between the eyes.
    poses = [head_pose(points) for points in clip.points_px_FK3[after]]
    across = clip.points_px_FK3[after, 263, :2] - clip.points_px_FK3[after, 33, :2]
    seen = (
        [pose.yaw_deg for pose in poses],
        [pose.pitch_deg for pose in poses],
        np.degrees(np.arctan2(across[:, 1], across[:, 0])),
    )
    for axis, angles_deg in enumerate(seen):
        assert np.corrcoef(taken.head_F6[after, axis], angles_deg)[0, 1] > 0.8, axis
    drawn = behave(tiny_pipeline, voice, portrait)
    np.testing.assert_array_equal(taken.expression_FE, drawn.expression_FE)
    half = behave(tiny_pipeline, voice, portrait, motion_from=clip, head_motion=0.5, blinks_per_minute=0.0)
    np.testing.assert_allclose(centred(half.head_F6), 0.5 * centred(taken.head_F6), atol=1e-9)
    assert changed(half, taken) == {"head_F6", "torso_F2", "eyes_closed_F2"}
    assert not half.eyes_closed_F2.any()


@pytest.mark.slow
def test_the_style_of_a_clip_changes_the_motion_but_keeps_it_drawn(
    tiny_pipeline: EmoPipeline, voice: Audio, portrait: PreparedPortrait, lively: Behaviour, clip: MotionClip
) -> None:
    styled = behave(tiny_pipeline, voice, portrait, motion_style_from=clip)
    assert "head_F6" in changed(styled, lively)
    assert "expression_FE" not in changed(styled, lively)
    read = read_behaviour(clip.points_px_FK3, clip.fps).head_F6[:, :3]
    frames = min(len(read), len(styled))
    assert abs(np.corrcoef(styled.head_F6[:frames, 0], read[:frames, 0])[0, 1]) < 0.9


def test_a_clip_that_cannot_be_used_is_an_input_error(
    tiny_pipeline: EmoPipeline,
    voice: Audio,
    portrait: PreparedPortrait,
    portrait_path: Path,
    face_analyzer: FaceAnalyzer,
    tmp_path: Path,
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(400))
    for path in (broken, tmp_path / "missing.mp4"):
        with pytest.raises(InputError, match=path.name):
            read_motion_clip(path, face_analyzer, duration_s=1.0)
    small = np.ascontiguousarray(read_image(portrait_path)[::4, ::4])
    with pytest.raises(InputError, match="broken"):
        tiny_pipeline(small, voice, motion_from=broken, framing="crop", size_px=64)
    nobody = MotionClip(np.full((50, 478, 3), np.nan, np.float32), Fraction(25))
    for option in ("motion_from", "motion_style_from"):
        with pytest.raises(FaceError, match="too little of a face"):
            behave(tiny_pipeline, voice, portrait, **{option: nobody})
