"""What a call asks of a person's behaviour: whether a model can do it, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from openemo.arrays import Floats
from openemo.audio import Audio
from openemo.audio.prosody import measure_prosody
from openemo.behaviour import Behaviour
from openemo.behaviour.behaviour_settings import BehaviourSettings
from openemo.behaviour.drawing import draw_behaviour, style_of
from openemo.behaviour.gaze import towards_room
from openemo.behaviour.head_motion import limit_head
from openemo.behaviour.motion_from_clip import clip_behaviour, clip_style
from openemo.behaviour.person_style import PersonStyle
from openemo.config import PipelineConfig
from openemo.errors import ConfigError
from openemo.face.landmarks import iris_offset
from openemo.models import EmoUNet
from openemo.models.autoencoder import Autoencoder
from openemo.pipeline.motion_clip import MotionClip

__all__ = ["behaviour_of_person", "behaviour_settings", "check_controls", "style_of_person"]


def check_controls(
    config: PipelineConfig, given: Mapping[str, bool], *, unet: EmoUNet, autoencoder: Autoencoder[Any]
) -> None:
    """Raises ConfigError for a control that a model has no layers for.

    Args:
        given: whether a call has "transparency", "emotion", "motion from a clip", "motion style from a clip".
    """
    if config.speed is not None and unet.config.speed_dim is None:
        raise ConfigError(
            "this model has no speed layers", got=f"speed {config.speed}", fix="Leave the speed out"
        )
    moves_portrait = autoencoder.moves_portrait
    if given["transparency"] and not moves_portrait:
        raise ConfigError(
            "this model draws frames without transparency",
            got="transparent",
            fix="Leave it out, or take the model `embedded`",
        )
    has_head = moves_portrait and unet.config.num_motion_conditions is not None
    has_guide = moves_portrait and unet.config.expression_guide_channels is not None
    values = (  # name, value, neutral value, whether the model has it
        ("blinks per minute", config.blinks_per_minute, 0, moves_portrait),
        ("gaze", config.gaze, 0, moves_portrait),
        ("lip motion", config.lip_motion, 1, moves_portrait),
        ("tongue", config.tongue, 0, moves_portrait),
        ("pressing of the lips", config.lip_pressing, 0, moves_portrait),
        ("head motion", config.head_motion, 0, has_head),
        ("brows", config.brows, 0, has_guide),
        ("expression", config.expression, 0, has_guide),
    )
    refused = [
        what if value is None else f"{what} {value:g}"
        for what, value, neutral, has in values
        if value != neutral and not has
    ]
    needs = {"emotion": has_guide, "motion from a clip": has_head, "motion style from a clip": has_head}
    refused += [what for what, has in needs.items() if given[what] and not has]
    if refused:
        raise ConfigError("this model has no such control", got=", ".join(refused), fix="Leave them out")


def behaviour_of_person(
    audio: Audio,
    points: Floats,
    num_frames: int,
    fps: Fraction,
    *,
    seed: int,
    config: PipelineConfig,
    num_shown: int,
    motion_from: MotionClip | None = None,
    motion_style_from: MotionClip | None = None,
) -> Behaviour:
    """What somebody does beside forming words, without the emotions that a call asks for.

    Args:
        points: landmarks; they say who it is.
        num_shown: frames of the video; the last clip of latents may go on beyond them.
        motion_from, motion_style_from: see `EmoPipeline`.

    Raises:
        FaceError: too little to see in a clip.
    """
    person, style = points.tobytes(), style_of_person(points)
    if motion_style_from is not None:
        style = clip_style(motion_style_from.points_px_FK3, motion_style_from.fps, style)
    drawn = draw_behaviour(
        measure_prosody(audio),
        num_frames,
        fps,
        seed=seed,
        person=person,
        style=style,
        settings=behaviour_settings(config),
    )
    if motion_from is None:
        return drawn
    clip = clip_behaviour(motion_from.points_px_FK3, motion_from.fps, num_frames, fps, num_shown=num_shown)
    return replace(
        drawn,
        head_F6=limit_head(np.asarray(config.head_motion * clip.head_F6, np.float64)),
        torso_F2=config.head_motion * clip.torso_F2,
        brows_F=config.brows * clip.brows_F,
        gaze_F2=config.gaze * clip.gaze_F2,
        eyes_closed_F2=clip.eyes_closed_F2 * (config.blinks_per_minute != 0),
    )


def style_of_person(points: Floats) -> PersonStyle:
    """Habits of whoever has these landmarks; looks go more often where the eyes have room."""
    style = style_of(points.tobytes())
    return replace(style, gaze_directions=towards_room(style.gaze_directions, iris_offset(points)))


def behaviour_settings(config: PipelineConfig) -> BehaviourSettings:
    """What a configuration says of behaviour."""
    return BehaviourSettings(
        head_motion=config.head_motion,
        gaze=config.gaze,
        blinks_per_minute=config.blinks_per_minute,
        brows=config.brows,
        expression=config.expression,
    )
