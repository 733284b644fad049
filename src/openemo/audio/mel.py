"""The log-mel spectrogram that Whisper takes as input."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["HOP_SAMPLES", "SAMPLE_RATE_HZ", "log_mel"]

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160
FFT_SAMPLES = 400
_BLOCK_FRAMES = 3_000
_DYNAMIC_RANGE = 8.0  # powers of ten
# Slaney's mel scale: 200/3 Hz per mel, and above 1 kHz 27 mels for a factor of 6.4.
_LOG_HZ, _LOG_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27.0


def log_mel(
    samples: npt.NDArray[np.float32], num_mel_bins: int = 80, *, loudest: float | None = None
) -> Tensor:
    """(num_mel_bins, num_samples // 160) float32; column i is centred on sample 160 i.

    Equal to transformers' WhisperFeatureExtractor on 30 s. The floor is 80 dB under the loudest point of the
    whole audio, also beyond 30 s, so that it is the same in every window. Computed in blocks, so that only
    the result grows with the length.

    Args:
        samples: (num_samples,) mono at 16 kHz.
        loudest: power of ten of the loudest point of a sound that these samples are a part of, if it is more
            than their own.
    """
    half = FFT_SAMPLES // 2
    num_frames = samples.size // HOP_SAMPLES
    padded = torch.from_numpy(np.pad(samples, half, mode="reflect" if samples.size > half else "constant"))
    # The host program may have set another default dtype or device.
    window = torch.hann_window(FFT_SAMPLES, dtype=torch.float32, device="cpu")
    filters_MK = _mel_filters(num_mel_bins).T.contiguous()
    log_spec_MT = torch.empty(num_mel_bins, num_frames, dtype=torch.float32, device="cpu")
    for start in range(0, num_frames, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, num_frames)
        piece = padded[start * HOP_SAMPLES : (stop - 1) * HOP_SAMPLES + FFT_SAMPLES]
        spectrum_KT = torch.stft(
            piece, FFT_SAMPLES, HOP_SAMPLES, window=window, center=False, return_complex=True
        )
        power_KT = spectrum_KT.abs() ** 2
        log_spec_MT[:, start:stop] = torch.clamp(filters_MK @ power_KT, min=1e-10).log10()
    peak = log_spec_MT.max()
    floor = (peak if loudest is None else peak.clamp(min=loudest)) - _DYNAMIC_RANGE
    return (torch.maximum(log_spec_MT, floor) + 4.0) / 4.0


def _mel_filters(num_mel_bins: int) -> Tensor:
    """(1 + FFT_SAMPLES / 2, num_mel_bins) float32: triangles of equal area on Slaney's mel scale.

    The same bits as transformers' `mel_filter_bank`, whose import takes longer than a second of video.
    """
    mels = np.linspace(0.0, _LOG_MEL + np.log(SAMPLE_RATE_HZ / 2 / _LOG_HZ) / _LOG_STEP, num_mel_bins + 2)
    edges_hz = np.where(mels < _LOG_MEL, 200.0 * mels / 3.0, _LOG_HZ * np.exp(_LOG_STEP * (mels - _LOG_MEL)))
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ // 2, 1 + FFT_SAMPLES // 2)
    distances = edges_hz - bins_hz[:, None]
    widths = np.diff(edges_hz)
    rising, falling = -distances[:, :-2] / widths[:-1], distances[:, 2:] / widths[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    triangles *= 2.0 / (edges_hz[2:] - edges_hz[:-2])
    return torch.from_numpy(triangles.astype(np.float32))
