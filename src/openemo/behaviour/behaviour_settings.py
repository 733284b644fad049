"""How much a person moves beside the mouth."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from openemo.errors import ConfigError

__all__ = ["BehaviourSettings"]

_MOST: Final = {"blinks_per_minute": 60.0}
_MOST_GAIN: Final = 3.0


@dataclass(frozen=True, slots=True)
class BehaviourSettings:
    """Gains: 1 is a person who talks, 0 none. Raises ConfigError for values out of range.

    Attributes:
        head_motion: of head, torso and breath, 0 to 3.
        gaze: of the eyes in their sockets, 0 to 3. At 0 they move with the head.
        blinks_per_minute: in the mean, 0 to 60; None gives each person a rate of their own, 12 to 30.
        brows: of the brows, 0 to 3.
        expression: of what the voice carries, 0 to 3.
    """

    head_motion: float = 1.0
    gaze: float = 1.0
    blinks_per_minute: float | None = None
    brows: float = 1.0
    expression: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = _MOST.get(field.name, _MOST_GAIN)
            if value is None and field.name in _MOST:
                continue
            if not (math.isfinite(value) and 0 <= value <= most):
                expected = f"0 to {most:g}"
                raise ConfigError(f"`{field.name}` is out of range", got=value, expected=expected)
