"""Sounds as rooms, microphones, codecs, music and ways to speak change them; 16 kHz, the timing stays."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from scipy.linalg import solve_toeplitz
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from openemo.arrays import Samples
from openemo.audio.audio_reader import read_audio
from openemo.data.singing import accompany
from openemo.data.voice_augmentation import SAMPLE_RATE_HZ, shift_voice

SEED = 7
PACES = {"faster, 1.3": 1.3, "slower, 0.75": 0.75}


def reverberant(samples: Samples, decay_s: float, direct_db: float) -> Samples:
    """A room of noise that decays by 60 dB within a time, the direct sound louder or quieter by so much."""
    times_s = np.arange(round(decay_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tail = np.random.default_rng(SEED).standard_normal(len(times_s)) * 10 ** (-3 * times_s / decay_s)
    tail *= 10 ** (-direct_db / 20) / np.sqrt((tail**2).sum())
    return like(samples + fftconvolve(samples, tail)[: len(samples)], samples)


def far(samples: Samples) -> Samples:
    """A telephone's band, a room that is louder than the voice, and noise 12 dB below."""
    band = sosfilt(butter(4, (250, 3600), "bandpass", fs=SAMPLE_RATE_HZ, output="sos"), samples)
    heard = reverberant(band, 0.4, -4.0)
    noise = np.random.default_rng(SEED).standard_normal(len(heard))
    return like(heard + noise * 10**-0.6 * np.sqrt((heard**2).mean()), samples)


def coded(samples: Samples, codec: str, rate_hz: int, bits_per_s: int) -> Samples:
    """Written and read again; the reader drops the codec's delay."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sound.mka"
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=rate_hz, layout="mono")
            assert isinstance(stream, av.AudioStream)
            stream.bit_rate = bits_per_s
            for frame in av.AudioResampler("s16", "mono", rate_hz).resample(whole_frame(samples)):
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        back = read_audio(path).mono().resample(SAMPLE_RATE_HZ).samples[0]
    return like(np.pad(back, (0, max(0, len(samples) - len(back))))[: len(samples)], samples)


def whole_frame(samples: Samples) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
    return frame


def whispered(samples: Samples) -> Samples:
    """The voice's spectral envelope on noise (linear prediction, order 18, 20 ms), without its low end."""
    length, hop, order = 640, 160, 18
    window, rng = np.hanning(length), np.random.default_rng(SEED)
    padded, result = np.pad(samples, length).astype(np.float64), np.zeros(len(samples) + 2 * length)
    for start in range(0, len(padded) - length, hop):
        part = window * padded[start : start + length]
        power = np.correlate(part, part, "full")[length - 1 : length + order]
        if power[0] < 1e-9:
            continue
        power[0] *= 1.001
        filtered = lfilter([1], [1, *-solve_toeplitz(power[:-1], power[1:])], rng.standard_normal(length))
        result[start : start + length] += window * filtered * np.sqrt(power[0] / (filtered**2).sum())
    high = sosfilt(butter(2, 300, "highpass", fs=SAMPLE_RATE_HZ, output="sos"), result[length:-length])
    return like(high, samples)


def paced(samples: Samples, pace: float) -> Samples:
    """Faster or slower at the same pitch, by FFmpeg's filter."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        format="flt", sample_rate=SAMPLE_RATE_HZ, layout="mono", time_base=Fraction(1, SAMPLE_RATE_HZ)
    )
    graph.link_nodes(source, graph.add("atempo", str(pace)), graph.add("abuffersink")).configure()
    graph.push(whole_frame(samples))
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray().reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.asarray(np.concatenate(pieces), np.float32)


def like(sound: np.ndarray, samples: Samples) -> Samples:
    """As loud as the samples."""
    level = np.sqrt((samples**2).mean() / max(float((sound**2).mean()), 1e-12))
    return np.asarray(level * sound, np.float32)


KINDS: dict[str, Callable[[Samples], Samples]] = {
    "as recorded": lambda samples: samples,
    "room": lambda samples: reverberant(samples, 0.8, 0.0),
    "far microphone": far,
    "Opus, 6 kbit per second": lambda samples: coded(samples, "libopus", 8000, 6000),
    "music 3 dB below": lambda samples: accompany(samples, np.random.default_rng(SEED), below_db=3.0),
    "whispered": whispered,
    "child's size": lambda samples: shift_voice(samples, 1.4),
    **{name: partial(paced, pace=pace) for name, pace in PACES.items()},
}
