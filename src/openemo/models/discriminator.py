"""A judge of small patches for adversarial training: are these teeth, or the mean of all teeth?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """Strided convolutions to a map of logits, one for each overlapping patch (Isola et al. 2017, PatchGAN).

    Without norms: its batches are small, and a norm over a patch would hide the brightness of teeth.

    Args:
        in_channels: of the picture, and of what it is judged beside.
        channels: widths; each convolution halves the picture.
    """

    def __init__(self, in_channels: int = 6, channels: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1)
            for before, after in pairwise((in_channels, *channels))
        )
        self.conv_out = nn.Conv2d(channels[-1], 1, 3, padding=1)
        # torch's own start shrinks the signal at each layer: such a judge stays without an opinion for long.
        for conv in self.convs:
            nn.init.kaiming_normal_(cast(Tensor, conv.weight), a=0.2)

    def forward(self, patches_BCSS: Tensor) -> list[Tensor]:
        """Pictures in [-1, 1] -> the features of each layer, and last the logits (B, 1, S/8, S/8)."""
        features = [patches_BCSS]
        for conv in self.convs:
            features.append(F.leaky_relu(conv(features[-1]), 0.2))
        return [*features[1:], self.conv_out(features[-1])]
