"""What a person does beside forming words: head, brows, gaze, blinks, breath, expression."""

from openemo.behaviour.tracks import EMOTIONS, HEAD_AXES, Behaviour

__all__ = ["EMOTIONS", "HEAD_AXES", "Behaviour"]
