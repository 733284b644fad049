"""Where the parts of a face lie in a picture, as soft weights.

Shapes: N faces.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["region_weight"]


def region_weight(
    points: Tensor, size: int, indices: tuple[int, ...], *, reach: float = 0.35, least: float = 0.0175
) -> Tensor:
    """(N, 1, size, size) Gaussian over a facial part, 1 at its middle.

    Args:
        points: (N, 478, 2) landmarks in units of the side. indices: the part's landmarks.
        reach: standard deviation over the part's longer side; least: in units of the picture's side.
    """
    part = points[:, list(indices)]
    low, high = part.amin(1), part.amax(1)
    centre = (low + high) / 2
    sigma = ((high - low).amax(1, keepdim=True) * reach).clamp_min(least)
    ticks = (torch.arange(size) + 0.5) / size
    x, y = (torch.exp(-(((ticks[None] - centre[:, axis : axis + 1]) / sigma) ** 2) / 2) for axis in (0, 1))
    return (y[:, :, None] * x[:, None, :])[:, None]
