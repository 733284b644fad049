"""Sound: reading, loudness, speech features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openemo.audio.loudness import normalise_loudness
    from openemo.audio.reading import Audio, read_audio
    from openemo.audio.speech import SpeechEncoder, SpeechFeatures

__all__ = ["Audio", "SpeechEncoder", "SpeechFeatures", "normalise_loudness", "read_audio"]

_MODULES = {
    "Audio": "reading",
    "SpeechEncoder": "speech",
    "SpeechFeatures": "speech",
    "normalise_loudness": "loudness",
    "read_audio": "reading",
}


def __getattr__(name: str) -> Any:
    """Imports on first use: torch and transformers take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
