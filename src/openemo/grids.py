"""Sampling grids: where the centres of pixels and cells lie. Pixel i of n covers [i, i + 1) / n of a side.

All grids of the package come from here, so that none is off by half a pixel.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["FULL", "centre_array", "centre_grid", "centres", "normalised_centres"]

FULL = slice(None)
"""All rows, or all columns."""


def centres(length: int, *, device: torch.device | None = None) -> Tensor:
    """(length,) float32 centres of the cells along a side, in units of the side: 0.5 / length first.

    On the CPU without a `device`. A program's own default dtype and device change nothing.
    """
    return (torch.arange(length, device=device or "cpu", dtype=torch.float32) + 0.5) / length


def centre_array(length: int) -> NDArray[np.float64]:
    """The same centres in double precision, for geometry with numpy."""
    return (np.arange(length) + 0.5) / length


def centre_grid(
    height: int,
    width: int,
    *,
    rows: slice = FULL,
    columns: slice = FULL,
    device: torch.device | None = None,
) -> Tensor:
    """(h, w, 2) x and y of the centres of cells, in units of the sides.

    Args:
        height, width: of the whole grid, in cells.
        rows, columns: the part that is wanted.
    """
    x, y = centres(width, device=device)[columns], centres(height, device=device)[rows]
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def normalised_centres(length: int, *, like: Tensor) -> Tensor:
    """(length,) the same centres from -1 to 1, as `torch.nn.functional.grid_sample` counts a side."""
    return (torch.arange(length, device=like.device, dtype=like.dtype) + 0.5) * (2 / length) - 1
