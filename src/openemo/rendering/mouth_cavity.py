"""What lies behind the teeth: a throat without light, the insides of the cheeks, the tongue.

All of it is a few smooth shapes in the coordinates of the jaw, so it is computed per frame instead of stored.

Shapes: N frames of one portrait, h x w positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["MouthCavity"]

# Lengths over the width of the mouth.
_BODY, _BODY_RISE = 0.1, 0.36  # of the resting tongue above the lower teeth; the second per opening
_BODY_HALF_WIDTH, _TIP_HALF_WIDTH = 0.42, 0.38
_BODY_FADE, _TIP_FADE = 0.2, 0.08  # from the tongue's upper edge to its full light: far back, or at the lips
_TIP_BELOW: Final = 0.05  # a raised tip ends this much below the upper edge of the opening
_GROOVE, _GROOVE_HALF_WIDTH = 0.16, 0.05  # loss of light along the middle of a resting tongue
_TIP_ROUND: Final = 0.5  # loss of light at the sides of a raised tip
_SIDE_FADE: Final = 5.0  # how steeply the tongue ends at its sides
_CHEEKS: Final = 0.3  # from the middle, where the cheeks' insides are half as light as they get


@dataclass(frozen=True, slots=True)
class MouthCavity:
    """The cavity of one portrait.

    Attributes:
        lower_edge_2: middle of the lower teeth's edge, in the reference, in units of the square's side.
        across_2, down_2: vectors along the mouth and at right angles to it, as long as the mouth is wide.
        colours_33: RGB in [-1, 1] of throat, cheeks and tongue.
        depth: 1 shades all of it; 0 draws throat and tongue in two flat colours.
    """

    lower_edge_2: Tensor
    across_2: Tensor
    down_2: Tensor
    colours_33: Tensor
    depth: float = 1.0

    def draw(self, positions_Nhw2: Tensor, opening_N: Tensor, tongue_N: Tensor) -> Tensor:
        """(N, 3, h, w) in [-1, 1].

        Args:
            positions_Nhw2: of the pixels in the reference, moved back with the jaw.
            opening_N: height of the opening over the width of the mouth.
            tongue_N: from 0, the tongue lies behind the lower teeth, to 1, its tip is at the upper teeth.
        """
        size = self.down_2.square().sum()
        axes_22 = torch.stack([self.across_2, self.down_2], 1) / size
        x, y = ((positions_Nhw2 - self.lower_edge_2) @ axes_22).unbind(-1)
        throat, cheeks, tongue = self.colours_33[:, :, None, None]
        cover, light = self._tongue(x, y, opening_N[:, None, None], tongue_N[:, None, None])
        squared = x.square()
        side = (self.depth * squared / (squared + _CHEEKS**2))[:, None]
        behind = torch.lerp(throat.expand(len(x), -1, 1, 1), cheeks, side)
        return torch.lerp(behind, tongue, (cover * light)[:, None])

    def _tongue(self, x: Tensor, y: Tensor, opening: Tensor, raised: Tensor) -> tuple[Tensor, Tensor]:
        """Where the tongue is, and how much of its own colour it has, (N, h, w) each.

        Args:
            x, y: from the middle of the lower teeth's edge, to the right and down.
        """
        body = _BODY + _BODY_RISE * opening
        height = torch.lerp(body, torch.maximum(body, opening - _TIP_BELOW), raised)
        half_width = _BODY_HALF_WIDTH + raised * (_TIP_HALF_WIDTH - _BODY_HALF_WIDTH)
        squared = (x / half_width).square()
        # The body is flat on top, the tip is round.
        dome = (1 - torch.lerp(squared.square(), squared, raised)).clamp_min(0)
        inward = y + height * dome  # below the tongue's upper edge
        # A resting tongue leads back into the dark, a raised tip is at the front.
        fade = (_BODY_FADE + raised * (_TIP_FADE - _BODY_FADE)) * self.depth + 0.01
        cover = (inward / fade).clamp(0, 1)
        groove = (1 - raised) * _GROOVE / (1 + (x / _GROOVE_HALF_WIDTH).square())
        light = 1 - self.depth * (groove + _TIP_ROUND * raised * squared.clamp_max(1))
        return cover * cover * (3 - 2 * cover) * (_SIDE_FADE * dome).clamp_max(1), light
