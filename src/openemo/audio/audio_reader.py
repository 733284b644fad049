"""Audio from any media file, as floating-point samples on the file's own clock."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

import av
import numpy as np
import numpy.typing as npt

from openemo.audio.media_file import DECODER_ERRORS, decoded_frames, open_media
from openemo.decoding_limits import DEFAULT_LIMITS, DecodingLimits
from openemo.errors import AudioError, OpenEmoError
from openemo.input_files import open_input

__all__ = ["Audio", "check_sample_rate", "decode_audio", "read_audio"]

logger = logging.getLogger(__name__)

# If a decoded frame starts this much later than the previous one ends, audio is missing between them.
# Smaller differences are rounding: Matroska and FLV count milliseconds.
_GAP_S = 0.05
# Gaps may be this much longer than the sound, all together. Longer ones are errors in the time stamps, and
# silence of their length could fill the memory.
_MAX_EXTRA_SILENCE_S = 60
# Telephones have 8 kHz, the fastest converters 768 kHz.
_RATES_HZ: Final = (1_000, 768_000)
# Pieces of this size together go back to the system when they are given up; small ones stay with the process.
_BLOCK_BYTES: Final = 2**26
# Codes that MP4 and its kin have in place of the codec's where the sound is encrypted.
_ENCRYPTED: Final = frozenset(("drms", "enca", "aavd"))
_COPIES: Final = 2  # of the samples: mixed to one channel, and resampled for the networks
# The mean of two channels with less than this part of the louder one's power has lost the voice.
_CANCELLED = 0.01
_RUN_IN_S: Final = 1.0  # decoders need some of what is before
_SILENT_RATE_HZ: Final = 16_000
_FORMATS = (
    "Any sound or video file that FFmpeg decodes will do: WAV, FLAC, MP3, M4A, Ogg, MP4, ... "
    "A playlist will not"
)


@dataclass(frozen=True, eq=False)
class Audio:
    """Samples of one or two channels.

    Attributes:
        samples: (num_channels, num_samples) float32 in [-1, 1].
        sample_rate_hz: samples per second and channel.
    """

    samples: npt.NDArray[np.float32]
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            got = f"{self.samples.dtype} of shape {self.samples.shape}"
            raise AudioError("wrong kind of samples", got=got, expected="float32 of (channels, samples)")
        if not 1 <= self.num_channels <= 2:
            raise AudioError("wrong number of channels", got=self.num_channels, expected="1 or 2")
        if self.sample_rate_hz < 1:
            raise AudioError("wrong sample rate", got=self.sample_rate_hz, expected="1 Hz or more")

    @property
    def num_channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def num_samples(self) -> int:
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate_hz

    def mono(self) -> Audio:
        """The mean of the channels, or the louder channel where the mean cancels the voice (antiphase)."""
        if self.num_channels == 1:
            return self
        samples = self.samples.mean(axis=0, keepdims=True, dtype=np.float32)
        powers = [_power(channel) for channel in self.samples]
        if _power(samples[0]) < _CANCELLED * max(powers):
            loudest = int(np.argmax(powers))
            samples = self.samples[loudest : loudest + 1]
        return Audio(samples, self.sample_rate_hz)

    def resample(self, sample_rate_hz: int) -> Audio:
        """The same audio at another rate, band-limited: round(num_samples * ratio) samples, without delay."""
        if sample_rate_hz == self.sample_rate_hz:
            return self
        target_length = round(Fraction(self.num_samples * sample_rate_hz, self.sample_rate_hz))
        layout = _layout(self.num_channels)
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=sample_rate_hz)
        samples = np.zeros((self.num_channels, target_length), np.float32)
        filled = 0
        for frame in (*_frames(self, layout), None):
            for part in resampler.resample(frame):
                values = part.to_ndarray()[:, : target_length - filled]
                samples[:, filled : filled + values.shape[1]] = values
                filled += values.shape[1]
        return Audio(samples, sample_rate_hz)


def _power(samples: npt.NDArray[np.float32]) -> float:
    return float(np.vdot(samples, samples))


def _layout(num_channels: int) -> str:
    return "mono" if num_channels == 1 else "stereo"


def _frames(audio: Audio, layout: str) -> Iterator[av.AudioFrame]:
    """The audio in pieces of one second."""
    step = audio.sample_rate_hz
    for start in range(0, audio.num_samples, step):
        piece = np.ascontiguousarray(audio.samples[:, start : start + step])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
        frame.sample_rate = audio.sample_rate_hz
        frame.pts = start
        frame.time_base = Fraction(1, audio.sample_rate_hz)
        yield frame


def read_audio(path: str | Path, track: int | None = None, limits: DecodingLimits = DEFAULT_LIMITS) -> Audio:
    """Decodes an audio track of a file at its own rate, as mono or stereo (more channels are mixed down).

    The samples are on the file's clock. The encoder's priming and padding are dropped where the file declares
    them. Silence fills missing parts, and the time before a track that starts later than the picture. It is
    left out if it is over a minute longer than the sound. Of a damaged file, all that can be decoded is
    returned. A warning is logged in these two cases.

    Args:
        track: which audio track, from 0. None takes the one that FFmpeg and players take: the default one if
            one is marked, otherwise by bit rate.

    Raises:
        AudioError: the file is missing, not a media file, has no such track, has no audio that can be
            decoded, or is over the limits.
    """
    with open_input(Path(path), "file", AudioError, limits) as file:
        return decode_audio(file, str(path), track, limits)


def decode_audio(
    source: bytes | BinaryIO,
    name: str,
    track: int | None = None,
    limits: DecodingLimits = DEFAULT_LIMITS,
    *,
    span_s: tuple[float, float] | None = None,
) -> Audio:
    """As `read_audio`, from the bytes of a file or a seekable one.

    Args:
        name: for the errors and warnings.
        span_s: only this much of it, start and end on the file's clock, with silence where it has none. What
            comes before and after is neither held nor, where the file can be searched, decoded.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    with _unreadable(name, limits):
        if file.seek(0, io.SEEK_END) == 0:
            raise AudioError(f"{name} is empty", got="0 bytes", expected="a sound or video file")
        file.seek(0)
        with open_media(file) as container:
            return _audio(container, name, track, limits, span_s)


def check_sample_rate(sample_rate_hz: int, name: str) -> None:
    """Raises AudioError for a rate that no sound has."""
    low, high = _RATES_HZ
    if not low <= sample_rate_hz <= high:
        raise AudioError(
            f"the sample rate of {name} is out of range",
            got=f"{sample_rate_hz} Hz",
            expected=f"{low:,} to {high:,} Hz",
        )


@contextmanager
def _unreadable(name: str, limits: DecodingLimits) -> Iterator[None]:
    """Turns FFmpeg's errors into AudioError."""
    try:
        yield
    except OpenEmoError:
        raise
    except MemoryError as error:
        raise _too_much_memory(name, limits) from error
    except (av.FFmpegError, *DECODER_ERRORS) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise AudioError(f"{name} cannot be read as sound", got=reason, fix=_FORMATS) from error


def _audio(
    container: av.container.InputContainer,
    name: str,
    track: int | None,
    limits: DecodingLimits,
    span_s: tuple[float, float] | None,
) -> Audio:
    stream = _find_track(container, name, track)
    if stream.codec_context is not None and stream.codec_context.codec_tag in _ENCRYPTED:
        raise AudioError(f"the sound of {name} is encrypted", fix="Give a file without copy protection")
    if span_s is None:
        return Audio(*_decode(container, stream, name, limits))
    return _decode_span(container, stream, name, limits, span_s)


def _decode_span(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    name: str,
    limits: DecodingLimits,
    span_s: tuple[float, float],
) -> Audio:
    """The samples between two times, each piece where the file's clock has it."""
    start_s, stop_s = span_s
    origin_s = (container.start_time or 0) / av.time_base
    if start_s > _RUN_IN_S:
        with suppress(av.FFmpegError, OSError, ValueError):  # without an index: from the file's start
            container.seek(round((start_s - _RUN_IN_S + origin_s) * av.time_base), backward=True)
    converter = _Converter(name, limits)
    samples: npt.NDArray[np.float32] | None = None
    next_s: float | None = None
    for frame in decoded_frames(container, stream, av.AudioFrame, name):
        clock_s = (next_s or 0.0) if frame.time is None else frame.time - origin_s
        if next_s is not None and abs(clock_s - next_s) <= _GAP_S:
            clock_s = next_s  # the rest is rounding of the clock
        next_s = clock_s + frame.samples / frame.sample_rate
        if clock_s >= stop_s:
            break
        if next_s <= start_s:
            continue
        values = converter(frame)
        if samples is None:
            length = round((stop_s - start_s) * converter.sample_rate_hz)
            _check_length(length, len(values), converter.sample_rate_hz, name, limits)
            samples = np.zeros((len(values), length), np.float32)
        first = round((clock_s - start_s) * converter.sample_rate_hz)
        values = values[:, max(-first, 0) : max(samples.shape[1] - first, 0)]
        first = max(first, 0)
        samples[:, first : first + values.shape[1]] = values
    if samples is None:
        return Audio(np.zeros((1, round((stop_s - start_s) * _SILENT_RATE_HZ)), np.float32), _SILENT_RATE_HZ)
    return Audio(samples, converter.sample_rate_hz)


def _too_much_memory(name: str, limits: DecodingLimits) -> AudioError:
    return AudioError(
        f"{name} needs too much memory",
        expected=f"at most {limits.max_memory_bytes / _COPIES / 1e6:,g} MB of samples",
        fix="Give a shorter part of it, or convert it to one channel",
    )


def _find_track(container: av.container.InputContainer, name: str, track: int | None) -> av.AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise AudioError(f"{name} has no sound", expected="a file with a sound track", fix=_FORMATS)
    if track is None:
        best = container.streams.best("audio")
        return best if isinstance(best, av.AudioStream) else tracks[0]
    if not 0 <= track < len(tracks):
        got = "1 sound track" if len(tracks) == 1 else f"{len(tracks)} sound tracks"
        raise AudioError(f"no sound track {track} in {name}", got=got, expected=_numbers(tracks))
    return tracks[track]


def _numbers(tracks: Sequence[av.AudioStream]) -> str:
    return "0" if len(tracks) == 1 else f"0 to {len(tracks) - 1}"


def _decode(
    container: av.container.InputContainer, stream: av.AudioStream, name: str, limits: DecodingLimits
) -> tuple[npt.NDArray[np.float32], int]:
    """All samples (channels, n), silence where the file's clock has gaps; and their rate."""
    pieces: list[npt.NDArray[np.float32]] = []
    gaps: list[int] = []  # samples of silence before each piece
    origin_s = Fraction(container.start_time or 0, 1_000_000)
    converter = _Converter(name, limits)
    length = run = run_bytes = 0  # a run of pieces without a gap, and where it starts
    for frame in decoded_frames(container, stream, av.AudioFrame, name):
        values = converter(frame)
        gap = 0
        if frame.pts is not None and frame.time_base is not None:
            late = round((frame.pts * frame.time_base - origin_s) * converter.sample_rate_hz) - length
            if late > _GAP_S * converter.sample_rate_hz or (length == 0 and late > 0):
                gap = late
        if gap or run_bytes > _BLOCK_BYTES:
            _merge(pieces, gaps, run)
            run, run_bytes = len(pieces), 0
        run_bytes += values.nbytes
        pieces.append(values)
        gaps.append(gap)
        length += gap + values.shape[1]
    if not pieces:
        raise AudioError(
            f"no sound can be decoded from {name}", got="an empty or truncated track", fix=_FORMATS
        )
    if "mp4" in container.format.name:
        _drop_padding(pieces, length - gaps[0], stream, converter.sample_rate_hz)
    if not _are_plausible(gaps, length, converter.sample_rate_hz, name):
        gaps = [0] * len(pieces)
    length = sum(gaps) + sum(piece.shape[1] for piece in pieces)
    _check_length(length, len(pieces[0]), converter.sample_rate_hz, name, limits)
    return _joined(pieces, gaps, length), converter.sample_rate_hz


def _merge(pieces: list[npt.NDArray[np.float32]], gaps: list[int], start: int) -> None:
    """Makes one piece of those from `start` on, between which there is no gap."""
    if len(pieces) - start > 1:
        pieces[start:] = [np.concatenate(pieces[start:], axis=1)]
        del gaps[start + 1 :]


def _joined(pieces: list[npt.NDArray[np.float32]], gaps: list[int], length: int) -> npt.NDArray[np.float32]:
    """The pieces with silence before each. They are given up one by one, so that none is held twice."""
    samples = np.zeros((len(pieces[0]), length), np.float32)
    end = length
    while pieces:
        piece = pieces.pop()
        samples[:, end - piece.shape[1] : end] = piece
        end -= piece.shape[1] + gaps[len(pieces)]
    return samples


def _check_length(
    length: int, num_channels: int, sample_rate_hz: int, name: str, limits: DecodingLimits
) -> None:
    if length > limits.max_seconds * sample_rate_hz:
        raise AudioError(
            f"{name} is too long",
            got=f"over {length / sample_rate_hz:,.0f} s of sound",
            expected=f"at most {limits.max_seconds:,g} s",
            fix="Cut it, or raise the limit: `--max-seconds`, in Python `DecodingLimits`",
        )
    if length * num_channels * 4 * _COPIES > limits.max_memory_bytes:
        raise _too_much_memory(name, limits)


def _are_plausible(gaps: list[int], length: int, sample_rate_hz: int, name: str) -> bool:
    """Whether the gaps, within `length` samples, can be true. Logs a warning if not."""
    silence_s = sum(gaps) / sample_rate_hz
    sound_s = length / sample_rate_hz - silence_s
    if silence_s <= sound_s + _MAX_EXTRA_SILENCE_S:
        return True
    text = "%s has gaps of %.0f s in the time stamps of %.1f s of sound; they are left out"
    logger.warning(text, name, silence_s, sound_s)
    return False


def _drop_padding(
    pieces: list[npt.NDArray[np.float32]],
    length: int,
    stream: av.AudioStream,
    sample_rate_hz: int,
) -> None:
    """Removes the padding of the last block, which FFmpeg keeps although an MP4's edit list declares it."""
    if stream.duration is None or stream.time_base is None:
        return
    excess = length - round(stream.duration * stream.time_base * sample_rate_hz)
    if 0 < excess < pieces[-1].shape[1]:
        pieces[-1] = pieces[-1][:, :-excess]


class _Converter:
    """Converts decoded frames to float32, at the rate and number of channels of the first one."""

    def __init__(self, name: str, limits: DecodingLimits) -> None:
        self.name, self.limits = name, limits
        self.num_samples = 0
        self.sample_rate_hz = 0
        self._layout = ""
        self._source: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def __call__(self, frame: av.AudioFrame) -> npt.NDArray[np.float32]:
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or source != self._source:
            self._check(frame)
            self.sample_rate_hz = self.sample_rate_hz or frame.sample_rate
            self._layout = self._layout or _layout(frame.layout.nb_channels)
            self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self.sample_rate_hz)
            self._source = source
        empty = np.empty((1 if self._layout == "mono" else 2, 0), np.float32)
        parts = [part.to_ndarray() for part in self._resampler.resample(frame)]
        values = np.concatenate(parts or [empty], axis=1).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise AudioError(f"{self.name} has samples that are not numbers", expected="finite samples")
        self.num_samples += values.shape[1]
        _check_length(self.num_samples, len(values), self.sample_rate_hz, self.name, self.limits)
        return np.clip(values, -1.0, 1.0, out=values)

    def _check(self, frame: av.AudioFrame) -> None:
        check_sample_rate(frame.sample_rate, self.name)
        if frame.layout.nb_channels > self.limits.max_channels:
            got, expected = f"{frame.layout.nb_channels} channels", f"at most {self.limits.max_channels}"
            raise AudioError(f"{self.name} has too many channels", got=got, expected=expected)
