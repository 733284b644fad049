"""Audio files, loudness, and speech features."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openemo.audio.audio_reader import Audio, read_audio
    from openemo.audio.loudness import normalise_loudness
    from openemo.audio.prosody import Prosody, measure_prosody
    from openemo.audio.speech_encoder import SpeechEncoder
    from openemo.audio.speech_features import SpeechFeatures
    from openemo.audio.wav2vec import Wav2VecEncoder
    from openemo.audio.whisper import WhisperEncoder

__all__ = [
    "Audio",
    "Prosody",
    "SpeechEncoder",
    "SpeechFeatures",
    "Wav2VecEncoder",
    "WhisperEncoder",
    "measure_prosody",
    "normalise_loudness",
    "read_audio",
]

_MODULES = {
    "Audio": "audio_reader",
    "Prosody": "prosody",
    "SpeechEncoder": "speech_encoder",
    "SpeechFeatures": "speech_features",
    "Wav2VecEncoder": "wav2vec",
    "WhisperEncoder": "whisper",
    "measure_prosody": "prosody",
    "normalise_loudness": "loudness",
    "read_audio": "audio_reader",
}


def __getattr__(name: str) -> Any:
    """Imports on first use, because torch and transformers take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
