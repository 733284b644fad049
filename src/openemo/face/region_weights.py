"""Soft weights for parts of a face: mouth, eyes.

Shapes: N faces, K landmarks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from openemo.grids import centres

__all__ = ["region_weight"]


def region_weight(
    points_NK2: Tensor,
    size: int,
    indices: tuple[int, ...],
    *,
    sigma_ratio: float = 0.35,
    min_sigma: float = 0.0175,
) -> Tensor:
    """(N, 1, size, size) Gaussian around a part of the face, 1 at its centre.

    Args:
        points_NK2: landmarks in units of the side.
        indices: landmarks of the part.
        sigma_ratio: standard deviation over the longer side of the part's box.
        min_sigma: least standard deviation, in units of the side.
    """
    part = points_NK2[:, list(indices)]
    low, high = part.amin(1), part.amax(1)
    centre = (low + high) / 2
    sigma = ((high - low).amax(1, keepdim=True) * sigma_ratio).clamp_min(min_sigma)
    ticks = centres(size)[None]
    x, y = (torch.exp(-(((ticks - centre[:, axis : axis + 1]) / sigma) ** 2) / 2) for axis in (0, 1))
    return (y[:, :, None] * x[:, None, :])[:, None]
