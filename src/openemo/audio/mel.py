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
    """(1 + FFT_SAMPLES / 2, num_mel_bins) float32."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + FFT_SAMPLES // 2,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE_HZ / 2,
        sampling_rate=SAMPLE_RATE_HZ,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(np.asarray(filters, np.float32))
