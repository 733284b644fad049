"""One tone or many colours: an engraving's mouth must not turn pink inside.

Shapes: B pictures, N frames of each, H x W any size.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

__all__ = ["to_tone_of"]

# How far a picture is from one tone: spread of its pixels about the best line through the colour cube, where
# the grey scale is 2 wide. Prints and sepia photographs measured 0 to 0.02, colour portraits 0.04 to 0.3.
_TONED: Final = 0.02
_COLOURED: Final = 0.035


def to_tone_of(picture_B3HW: Tensor, change_BN3HW: Tensor) -> Tensor:
    """A change (B, N, 3, h, w) of a picture as one of brightness along the picture's own tone.

    In a grey or toned picture each channel is a linear function of brightness; the change is laid along those
    lines. In a coloured picture nothing happens; between the two it fades.

    Args:
        picture_B3HW: in [-1, 1].
        change_BN3HW: (B, N, 3, h, w), what is to be added to N frames of each picture.
    """
    pixels = picture_B3HW.float().flatten(2)
    pixels = pixels - pixels.mean(2, keepdim=True)
    brightness = pixels.mean(1, keepdim=True)
    power = brightness.square().mean(2, keepdim=True)
    # A picture of one value is grey.
    slopes_B31 = ((pixels * brightness).mean(2, keepdim=True) + 1e-6) / (power + 1e-6)
    distance_B = (pixels - slopes_B31 * brightness).square().mean((1, 2)).sqrt()
    share = ((_COLOURED - distance_B) / (_COLOURED - _TONED)).clamp(0, 1)[:, None, None, None, None]
    if not share.any():
        return change_BN3HW
    toned = change_BN3HW.mean(2, keepdim=True) * slopes_B31[:, None, :, :, None].to(change_BN3HW.dtype)
    return change_BN3HW + share.to(change_BN3HW.dtype) * (toned - change_BN3HW)
