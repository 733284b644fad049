"""Keeps what is drawn on a picture in the picture's tone: the mouth of an engraving must not be pink inside.

Shapes: B pictures, N frames of each, H x W and h x w any sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["PictureTone", "channel_range", "colour_share", "tone_distance"]

# Distance of a picture from a single tone: standard deviation of its pixels about the best line through RGB
# space, where each channel spans 2. Prints and sepia photographs measured 0 to 0.02, colour portraits 0.04 to
# 0.3.
_SINGLE_TONE: Final = 0.02
_COLOURED: Final = 0.035
# The same limits of `channel_range`, a faster and coarser measure, in grey levels.
_SINGLE_TONE_RANGE, _COLOURED_RANGE = 15.0, 30.0


@dataclass(frozen=True, slots=True)
class PictureTone:
    """The tone of B pictures, measured once for all that is drawn on them.

    In a grey or toned picture each channel is a linear function of brightness.

    Attributes:
        slopes_B31: of each channel over brightness.
        share_B: 1 for pictures of a single tone, 0 for coloured ones, between the two limits in between.
    """

    slopes_B31: Tensor
    share_B: Tensor

    @classmethod
    def of(cls, picture_B3HW: Tensor) -> Self:
        """Of pictures in [-1, 1]."""
        slopes_B31, distance_B = _fit_tone(picture_B3HW.float().flatten(2))
        return cls(slopes_B31, ((_COLOURED - distance_B) / (_COLOURED - _SINGLE_TONE)).clamp(0, 1))

    def match(self, change_BN3HW: Tensor) -> Tensor:
        """Reduces a change (B, N, 3, h, w) of N frames of each picture to brightness along its tone.

        Coloured pictures take it as it is.
        """
        if not self.share_B.any():
            return change_BN3HW
        dtype = change_BN3HW.dtype
        toned = change_BN3HW.mean(2, keepdim=True) * self.slopes_B31[:, None, :, :, None].to(dtype)
        return change_BN3HW + self.share_B[:, None, None, None, None].to(dtype) * (toned - change_BN3HW)


def tone_distance(pixels: NDArray[np.uint8]) -> float:
    """How far pixels (N, 3) are from a single tone, where each channel spans 2; 0 for grey and toned ones."""
    values_13N = torch.from_numpy(pixels.T.astype(np.float32))[None] / 127.5
    return float(_fit_tone(values_13N)[1])


def _fit_tone(pixels_B3N: Tensor) -> tuple[Tensor, Tensor]:
    """Slope of each channel over brightness, (B, 3, 1), and distance of the pixels from this line, (B,)."""
    pixels = pixels_B3N - pixels_B3N.mean(2, keepdim=True)
    brightness = pixels.mean(1, keepdim=True)
    power = brightness.square().mean(2, keepdim=True)
    # The small terms make a picture of a single value grey.
    slopes_B31 = ((pixels * brightness).mean(2, keepdim=True) + 1e-6) / (power + 1e-6)
    return slopes_B31, (pixels - slopes_B31 * brightness).square().mean((1, 2)).sqrt()


def channel_range(image: NDArray[np.uint8]) -> float:
    """Mean of the largest minus the smallest channel of each pixel (h, w, 3), in grey levels: 0 for grey."""
    return float(np.ptp(image.astype(np.int16), axis=-1).mean())


def colour_share(image: NDArray[np.uint8]) -> float:
    """How coloured a picture (h, w, 3) is: 0 for grey and toned ones, 1 for coloured ones, linear between."""
    share = (channel_range(image) - _SINGLE_TONE_RANGE) / (_COLOURED_RANGE - _SINGLE_TONE_RANGE)
    return float(np.clip(share, 0, 1))
