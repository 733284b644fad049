"""Folds and lines of the skin in emotions, that a warp of the portrait does not make.

`openemo.data.mean_folds` made the maps that ship with the package: the logarithm of how much lighter or
darker skin grows in each emotion, the mean over people. They are laid on the face at hand once, move
with it, and multiply the frames. A factor keeps the colour of any complexion
and the tone of a print.

Shapes: F frames, E emotions in the order of `EMOTIONS`, P side of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from openemo.array_files import ArrayKind, read_arrays
from openemo.behaviour.expression_shapes import EMOTIONS
from openemo.errors import CheckpointError
from openemo.face.landmarks import NUM_POINTS
from openemo.rendering.flow import warp
from openemo.rendering.landmark_flow import face_flow

__all__ = ["SkinFolds"]

_FILE: Final = "folds.npz"
_STORED_PX: Final = 160
_CELLS: Final = 64


@dataclass(frozen=True, slots=True)
class SkinFolds:
    """Of one portrait.

    Attributes:
        maps_EHW: logarithm of the brightness over that at rest, where the emotion's strength is 1.
    """

    maps_EHW: Tensor

    @classmethod
    def draw(cls, points: NDArray[np.floating], size_px: int) -> SkinFolds:
        """The maps on a face, for crops of `size_px`.

        Args:
            points: (478, 2) landmarks in units of the crop's side, without an expression.
        """
        folds, home = _mean_folds()
        flow = torch.from_numpy(face_flow(home, points, _CELLS))[None]
        return cls(warp(torch.from_numpy(folds)[None], flow, size=(size_px, size_px))[0])

    def __call__(self, frames_FCPP: Tensor, flow_F2hw: Tensor, strengths_FE: NDArray[np.floating]) -> Tensor:
        """The frames in [-1, 1] with folds; opacity stays.

        Args:
            flow_F2hw: backward flow that the frames were moved by.
            strengths_FE: of each emotion in each frame.
        """
        if not strengths_FE.any():
            return frames_FCPP
        strengths = torch.from_numpy(np.asarray(strengths_FE, np.float32)).to(self.maps_EHW.device)
        change = warp(torch.einsum("fe,ehw->fhw", strengths, self.maps_EHW)[:, None], flow_F2hw)
        size = frames_FCPP.shape[-2:]
        gain = F.interpolate(change.exp(), size=size, mode="bilinear", align_corners=False)
        colours = (frames_FCPP[:, :3] + 1) * gain.to(frames_FCPP.dtype) - 1
        return torch.cat([colours, frames_FCPP[:, 3:]], 1)


@cache
def _mean_folds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps (E, 160, 160), and the landmarks (478, 2) that they belong to, in units of their side."""
    kinds = {
        "folds": ArrayKind(np.float16, (len(EMOTIONS), _STORED_PX, _STORED_PX)),
        "points": ArrayKind(np.float16, (NUM_POINTS, 2)),
    }
    arrays = read_arrays(Path(str(files("openemo") / "assets" / _FILE)), kinds, error=CheckpointError)
    return arrays["folds"].astype(np.float32), arrays["points"].astype(np.float32)
