"""Smooth random tracks: white noise through a Gaussian filter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

__all__ = ["smooth_noise", "unit_gain"]

_TRUNCATE = 4.0  # radius of scipy's Gaussian filter, in standard deviations


def smooth_noise(
    num_frames: int, num_channels: int, sigma_frames: float, rng: np.random.Generator, *, margin: int
) -> NDArray[np.float64]:
    """(num_frames, num_channels) filtered standard normal noise; channels are independent.

    Its standard deviation is below 1; times `unit_gain` it is 1.

    Args:
        sigma_frames: standard deviation of the Gaussian filter, in frames: how long a movement lasts.
        margin: extra frames before and after, so that the ends are as smooth as the middle; four standard
            deviations are enough.
    """
    noise = rng.standard_normal((num_frames + 2 * margin, num_channels))
    smooth = gaussian_filter1d(noise, sigma_frames, axis=0, truncate=_TRUNCATE)
    return np.asarray(smooth[margin : margin + num_frames])


def unit_gain(sigma_frames: float, *, is_truncated: bool = False) -> float:
    """One over the standard deviation of `smooth_noise`.

    Args:
        is_truncated: for the truncated filter; else for the whole Gaussian, which differs by 5e-5.
    """
    if not is_truncated:
        return float(np.sqrt(2 * sigma_frames * np.sqrt(np.pi)))
    reach = int(_TRUNCATE * sigma_frames + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    return float(kernel.sum() / np.sqrt((kernel**2).sum()))
