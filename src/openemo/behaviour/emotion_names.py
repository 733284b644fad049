"""Emotions over time as one string, for the command line."""

from __future__ import annotations

from openemo.behaviour.expression import Emotions, check_emotions
from openemo.errors import ConfigError

__all__ = ["read_emotions"]


def read_emotions(text: str) -> Emotions:
    """`happy`, or `0:happy,2.5:sad:0.8`: time in seconds, name, and strength, 1 if left out.

    Raises ConfigError for another form, and for what `check_emotions` refuses.
    """
    if ":" not in text:
        return check_emotions(text.strip())
    changes = []
    for part in text.split(","):
        time, _, rest = part.strip().partition(":")
        name, _, strength = rest.partition(":")
        try:
            changes.append((float(time), name.strip(), float(strength or 1)))
        except ValueError as error:
            raise ConfigError(
                "the emotion is not understood",
                got=repr(part),
                expected="TIME:NAME or TIME:NAME:STRENGTH, such as 2.5:sad:0.8",
            ) from error
    return check_emotions(changes)
