"""What a person does beside forming words: head, brows, gaze, blinks, breath, expression.

Names load on first use: to check the name of an emotion needs no networks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openemo.behaviour.behaviour_settings import BehaviourSettings
    from openemo.behaviour.drawing import draw_behaviour, style_of
    from openemo.behaviour.expression import expression_track
    from openemo.behaviour.motion_from_clip import clip_behaviour, clip_style
    from openemo.behaviour.person_style import PersonStyle
    from openemo.behaviour.tracks import EMOTIONS, HEAD_AXES, Behaviour

__all__ = [
    "EMOTIONS",
    "HEAD_AXES",
    "Behaviour",
    "BehaviourSettings",
    "PersonStyle",
    "clip_behaviour",
    "clip_style",
    "draw_behaviour",
    "expression_track",
    "style_of",
]

_HOMES = {
    "EMOTIONS": "tracks",
    "HEAD_AXES": "tracks",
    "Behaviour": "tracks",
    "BehaviourSettings": "behaviour_settings",
    "PersonStyle": "person_style",
    "clip_behaviour": "motion_from_clip",
    "clip_style": "motion_from_clip",
    "draw_behaviour": "drawing",
    "expression_track": "expression",
    "style_of": "drawing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
