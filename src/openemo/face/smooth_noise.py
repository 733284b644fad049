"""Smooth random tracks: white noise through a Gaussian filter."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

__all__ = ["EndlessNoise", "smooth_noise", "unit_gain"]

_BLOCK: Final = 256
_EARLIEST: Final = 2**20  # blocks before the first place
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


class EndlessNoise:
    """`smooth_noise` without an end, of unit standard deviation, for tracks that are made as time goes on.

    Args:
        sigma_steps: standard deviation of the Gaussian filter.
    """

    def __init__(self, num_channels: int, sigma_steps: float, rng: np.random.Generator) -> None:
        self._channels = num_channels
        self._sigma = sigma_steps
        self._seed = int(rng.integers(2**62))
        self._reach = int(_TRUNCATE * sigma_steps + 0.5)
        self._blocks: dict[int, NDArray[np.float64]] = {}

    def __call__(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, channels) at these places, which never go far back."""
        first, last = int(np.floor(places[0])), int(np.floor(places[-1])) + 1
        white = self._white(first - self._reach, last + self._reach + 1)
        smooth = gaussian_filter1d(white, self._sigma, axis=0, truncate=_TRUNCATE)
        smooth = smooth[self._reach : len(smooth) - self._reach] * unit_gain(self._sigma)
        steps = np.arange(first, last + 1)
        return np.stack([np.interp(places, steps, channel) for channel in smooth.T], 1)

    def _white(self, start: int, stop: int) -> NDArray[np.float64]:
        """Steps `start` to `stop` of noise that is drawn in blocks."""
        needed = range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
        self._blocks = {index: self._blocks.get(index, self._draw(index)) for index in needed}
        joined = np.concatenate(list(self._blocks.values()))
        return joined[start - needed[0] * _BLOCK : stop - needed[0] * _BLOCK]

    def _draw(self, index: int) -> NDArray[np.float64]:
        entropy = (self._seed, index + _EARLIEST)
        rng = np.random.default_rng(np.random.SeedSequence(entropy))
        return rng.standard_normal((_BLOCK, self._channels))


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
