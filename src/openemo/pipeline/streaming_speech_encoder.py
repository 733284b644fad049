"""What the networks hear of a voice that comes bit by bit: the last two seconds, and a little ahead."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av
import numpy as np

from openemo.arrays import Doubles, Samples
from openemo.audio import SpeechEncoder, SpeechFeatures, WhisperEncoder
from openemo.audio.live_voice import Heard, LiveVoice
from openemo.audio.mel import SAMPLE_RATE_HZ
from openemo.audio.sound_queue import fade_out
from openemo.errors import ConfigError
from openemo.timing import frame_to_sample

__all__ = ["StreamingSpeechEncoder", "check_live_encoder"]

_WINDOW_S: Final = 2.0
# Loudest point of the spectrogram of a voice at the usual level, as a power of ten.
_LOUDEST: Final = 1.3


def check_live_encoder(encoder: SpeechEncoder) -> WhisperEncoder:
    """Raises ConfigError for encoders that need the whole sound."""
    if not isinstance(encoder, WhisperEncoder) or encoder.separate_windows or encoder.split_layers:
        raise ConfigError(
            "this model needs the whole sound before the first frame",
            expected="a model that hears by overlapping windows of Whisper",
            fix="Take the model `embedded`",
        )
    return encoder


class StreamingSpeechEncoder:
    """Speech features and prosody of sound as it comes. Memory does not grow.

    A window of 2 s ends `lookahead_s` after the frames that it is for, so each frame is heard with the same
    context wherever it is in the stream. Before the stream there was silence.
    """

    def __init__(
        self, encoder: WhisperEncoder, sample_rate_hz: int, *, fps: Fraction, lookahead_s: float
    ) -> None:
        self._encoder, self._fps = encoder, fps
        self._ahead = round(lookahead_s * SAMPLE_RATE_HZ)
        self._past_frames = round((_WINDOW_S - lookahead_s) * fps)
        self._rate_hz = sample_rate_hz
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE_HZ)
        self._pushed = 0
        self._samples: Samples = np.zeros(0, np.float32)
        self._end = 0  # sample after the last one
        self._voice = LiveVoice()

    def push(self, samples: Samples) -> None:
        """The next samples, (num_samples,) in [-1, 1]."""
        new = self._resampled(samples)
        self._voice.push(new)
        kept = round(2 * _WINDOW_S * SAMPLE_RATE_HZ)
        self._samples = np.concatenate([self._samples, new])[-kept:]
        self._end += len(new)

    def silence_after(self, frame: int) -> None:
        """Forgets what was heard after the start of a frame."""
        start = frame_to_sample(frame, self._fps, SAMPLE_RATE_HZ) - (self._end - len(self._samples))
        self._samples = self._samples.copy()
        self._samples[start:] = fade_out(self._samples[start:], SAMPLE_RATE_HZ)

    def speech(self, frames: range, *, is_talking: bool) -> tuple[SpeechFeatures, range]:
        """Features of the window of some frames, and the numbers that these frames have in it.

        Args:
            is_talking: otherwise the window is silent: the noise of a room would make lips tremble.
        """
        first = frames.stop - self._past_frames
        start = frame_to_sample(first, self._fps, SAMPLE_RATE_HZ)
        stop = frame_to_sample(frames.stop, self._fps, SAMPLE_RATE_HZ) + self._ahead
        window = np.zeros(stop - start, np.float32)
        origin = self._end - len(self._samples)
        part = self._samples[max(0, start - origin) : max(0, stop - origin)]
        offset = max(0, origin - start)
        window[offset : offset + len(part)] = part
        gain = np.float32((self._voice.gain if self._encoder.normalise else 1) * is_talking)
        features = self._encoder.encode_part(window * gain, loudest=_LOUDEST)
        return features, range(frames.start - first, frames.stop - first)

    def voice(self, times_s: Doubles) -> Heard:
        """Prosody at some moments of the stream."""
        return self._voice.hear(times_s)

    def _resampled(self, samples: Samples) -> Samples:
        if self._rate_hz == SAMPLE_RATE_HZ:
            return samples
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "fltp", "mono")
        frame.sample_rate = self._rate_hz
        frame.pts, frame.time_base = self._pushed, Fraction(1, self._rate_hz)
        self._pushed += len(samples)
        parts = [part.to_ndarray()[0] for part in self._resampler.resample(frame)]
        return np.concatenate([np.zeros(0, np.float32), *parts])
