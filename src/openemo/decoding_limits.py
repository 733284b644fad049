"""Limits of what one picture or sound may ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from openemo.errors import ConfigError

__all__ = ["DEFAULT_LIMITS", "DecodingLimits"]


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What a portrait or a sound may need at most. Whoever needs more may raise each.

    Attributes:
        max_pixels: width times height of a picture, or of a clip. Cameras of phones reach 108 megapixels.
        max_seconds: length of a sound.
        max_channels: of a sound; FFmpeg mixes no more.
        max_memory_bytes: memory of one decoder. Samples of a sound may take half of it: 69 minutes of one
            channel at 48 kHz, 34 of two.
        max_file_bytes: size of a picture's file, and of what comes from a pipe or an open file. A sound's
            file may be larger where its path is given.
        timeout_s: wall time of one decoder, for each frame of a clip; a sandboxed one is ended then.
    """

    max_pixels: int = 110_000_000
    max_seconds: float = 3_600
    max_channels: int = 64
    max_memory_bytes: int = 1_600_000_000
    max_file_bytes: int = 2**29
    timeout_s: float = 120

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"`{field.name}` is out of range", got=value, expected="a number over 0")


DEFAULT_LIMITS: Final = DecodingLimits()
