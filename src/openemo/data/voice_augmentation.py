"""Makes many voices from one: pitch and formants, noise, room, microphone.

The timing stays, so the audio still fits the frames.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

__all__ = ["SAMPLE_RATE_HZ", "shift_voice", "vary_voice"]

SAMPLE_RATE_HZ = 16_000
_MAX_LAG = 20  # in steps of 2 ms


def shift_voice(samples: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Pitch and formants times `factor`, as of a smaller (> 1) or larger speaker. Length and timing stay.

    By FFmpeg's filters: read at a higher rate, then slowed down without change of pitch.

    Args:
        samples: (N,) at 16 kHz. factor: 0.5 to 2.
    """
    graph = Graph()
    source = graph.add_abuffer(
        format="flt", sample_rate=SAMPLE_RATE_HZ, layout="mono", time_base=Fraction(1, SAMPLE_RATE_HZ)
    )
    chain = [
        source,
        graph.add("asetrate", str(round(SAMPLE_RATE_HZ * factor))),
        graph.add("aresample", str(SAMPLE_RATE_HZ)),
        graph.add("atempo", f"{1 / factor:.6f}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*chain).configure()
    frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE_HZ
    frame.pts = 0
    graph.push(frame)
    graph.push(None)
    pieces: list[NDArray[np.float32]] = []
    while True:
        try:
            pieces.append(np.asarray(graph.pull().to_ndarray().reshape(-1), np.float32))
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    return _align(np.concatenate(pieces), samples)


def _align(sound: NDArray[np.float32], original: NDArray[np.float32]) -> NDArray[np.float32]:
    """`sound`, shifted so that its loudness matches the original's best, and cut or padded to that length.

    The filter is early by up to 25 ms, more for higher factors: over half a frame.
    """
    step = SAMPLE_RATE_HZ // 500
    padded = np.pad(sound, (0, max(0, len(original) - len(sound))))[: len(original)]
    kernel = np.ones(SAMPLE_RATE_HZ // 100)
    want, got = (np.convolve(np.abs(x), kernel, "same")[::step] for x in (original, padded))
    lags = range(-_MAX_LAG, _MAX_LAG + 1)
    middle = slice(_MAX_LAG, -_MAX_LAG)
    scores = [float(want[middle] @ np.roll(got, lag)[middle]) for lag in lags]
    lag = lags[int(np.argmax(scores))] * step
    return np.asarray(
        np.pad(padded, (max(lag, 0), max(-lag, 0)))[max(-lag, 0) :][: len(original)], np.float32
    )


def vary_voice(samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A random other speaker in a random other room, (N,) at 16 kHz. The timing stays."""
    varied = shift_voice(samples, float(np.exp(rng.uniform(np.log(0.85), np.log(1.45)))))
    if rng.random() < 0.5:  # microphone: tilt the spectrum by a first-order shelf
        varied = lfilter([1, -rng.uniform(-0.6, 0.6)], [1], varied).astype(np.float32)
    if rng.random() < 0.4:  # room: exponentially decaying noise behind the direct sound
        length = int(SAMPLE_RATE_HZ * rng.uniform(0.1, 0.4))
        tail = rng.standard_normal(length) * np.exp(-np.arange(length) / (length / 5))
        tail *= rng.uniform(0.1, 0.5) / np.sqrt((tail**2).sum())
        varied = varied + fftconvolve(varied, tail)[: len(varied)].astype(np.float32)
    if rng.random() < 0.6:  # noise: between white and brown, 8 to 30 dB below the voice
        noise = lfilter([1], [1, -rng.uniform(0, 0.95)], rng.standard_normal(len(varied)))
        level = np.sqrt((varied**2).mean() / (noise**2).mean()) * 10 ** (-rng.uniform(8, 30) / 20)
        varied = varied + (level * noise).astype(np.float32)
    return np.asarray(varied, np.float32)
