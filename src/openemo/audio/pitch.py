"""Pitch of a voice over time, by SwiftF0 (Nieradzik 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Final

# First, so that onnxruntime comes without its telemetry.
import openemo.onnx_library  # noqa: F401
from openemo.arrays import Doubles, Samples

if TYPE_CHECKING:
    from swift_f0 import SwiftF0

__all__ = ["HOP_SAMPLES", "PITCH_RATE_HZ", "SAMPLE_RATE_HZ", "PitchTrack", "track_pitch", "track_short_pitch"]

SAMPLE_RATE_HZ: Final = 16_000
HOP_SAMPLES: Final = 256
PITCH_RATE_HZ: Final = Fraction(SAMPLE_RATE_HZ, HOP_SAMPLES)
# From a low man's voice to a soprano. Beyond, the network finds whistles, hum and the hiss of consonants.
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 1050.0
_PIECE_SAMPLES: Final = 2**17


@dataclass(frozen=True, slots=True, eq=False)
class PitchTrack:
    """T steps of 16 ms, step i centred on i * 0.016 s.

    Attributes:
        pitch_hz_T: meaningless where the confidence is low.
        confidence_T: that there is a pitch, 0 to 1; a voice from 0.5 on.
        level_dbfs_T: RMS of the 32 ms around the step.
    """

    pitch_hz_T: Doubles
    confidence_T: Doubles
    level_dbfs_T: Doubles


def track_pitch(samples: Samples) -> PitchTrack:
    """Pitch of mono samples (num_samples,) at 16 kHz, on one thread. They should have the level of speech.

    The network runs over pieces of one length, so that its memory does not grow with the sound.
    """
    from swift_f0 import concat

    stream = _detector().stream(_LOWEST_HZ, _HIGHEST_HZ)
    starts = range(0, len(samples), _PIECE_SAMPLES)
    found = [stream.push(samples[start : start + _PIECE_SAMPLES], SAMPLE_RATE_HZ) for start in starts]
    track = concat([*found, stream.flush()])
    return PitchTrack(track.pitch_hz, track.confidence, track.loudness_db)


def track_short_pitch(samples: Samples) -> PitchTrack:
    """The same of a second or so, all at once. The last steps, whose future is not there, are less sure."""
    track = _detector().detect(samples, SAMPLE_RATE_HZ, _LOWEST_HZ, _HIGHEST_HZ)
    return PitchTrack(track.pitch_hz, track.confidence, track.loudness_db)


@cache
def _detector() -> SwiftF0:
    from swift_f0 import SwiftF0

    # The cores are for the diffusion network, so no more threads and no busy waiting.
    return SwiftF0(threads=1, spin=False)
