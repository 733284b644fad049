"""Sound: reading, loudness, speech features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openemo.audio.features import SpeechFeatures
    from openemo.audio.loudness import normalise_loudness
    from openemo.audio.reading import Audio, read_audio
    from openemo.audio.speech import SpeechEncoder
    from openemo.audio.wav2vec import Wav2VecEncoder

__all__ = [
    "Audio",
    "SpeechEncoder",
    "SpeechFeatures",
    "Wav2VecEncoder",
    "normalise_loudness",
    "read_audio",
]

_MODULES = {
    "Audio": "reading",
    "SpeechEncoder": "speech",
    "SpeechFeatures": "features",
    "Wav2VecEncoder": "wav2vec",
    "normalise_loudness": "loudness",
    "read_audio": "reading",
}


def __getattr__(name: str) -> Any:
    """Imports on first use: torch and transformers take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
