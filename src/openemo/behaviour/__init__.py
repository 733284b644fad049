"""What a person does beside forming words: head, brows, gaze, blinks, breath, expression."""

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
