"""Folds and lines of the skin in emotions, that a warp of the portrait does not make.

`openemo.data.mean_folds` made the maps that ship with the package: the logarithm of how much lighter or
darker skin grows in each emotion, the mean over people. They are laid on the face at hand once, move
with it, and multiply the frames. A factor keeps the colour of any complexion and the tone of a print.
Where a smile was taken out of the photo, they take a part of its folds out, too.

Shapes: F frames, E emotions in the order of `EMOTIONS`, P side of the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
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
# Of the folds of a smile that was taken out. Means of other people do not lie just where this face has them.
_OWN_SHARE: Final = 0.7


@dataclass(frozen=True, slots=True)
class SkinFolds:
    """Of one portrait.

    Attributes:
        maps_EHW: logarithm of the brightness over that at rest, where the emotion's strength is 1.
        own_E: strengths whose folds the picture has already: those of a smile that was taken out of it.
    """

    maps_EHW: Tensor
    own_E: NDArray[np.float32]

    @classmethod
    def draw(
        cls, points: NDArray[np.floating], size_px: int, *, own_smile: float = 0.0, share: float = 1.0
    ) -> SkinFolds:
        """The maps on a face, at `size_px`.

        Args:
            points: (478, 2) landmarks in units of the crop's side, without an expression.
            share: of all folds.
        """
        folds, home = _mean_folds()
        flow = torch.from_numpy(face_flow(home, points, _CELLS))[None]
        own_E = np.zeros(len(EMOTIONS), np.float32)
        own_E[EMOTIONS.index("happy")] = _OWN_SHARE * own_smile
        return cls(share * warp(torch.from_numpy(folds)[None], flow, size=(size_px, size_px))[0], own_E)

    def draw_on(
        self, frames_FPPC: NDArray[np.float32], flow_F2hw: Tensor, strengths_FE: NDArray[np.floating]
    ) -> None:
        """Changes the colours of frames in [-1, 1]; opacity stays.

        Args:
            flow_F2hw: backward flow that the frames were moved by.
            strengths_FE: of each emotion in each frame.
        """
        strengths = torch.from_numpy(np.asarray(strengths_FE, np.float32) - self.own_E)
        if not strengths.any():
            return
        change = warp(torch.einsum("fe,ehw->fhw", strengths, self.maps_EHW)[:, None], flow_F2hw)
        for frame_PPC, gain_hw in zip(frames_FPPC, change.exp_()[:, 0].numpy(), strict=True):
            gain_hw3 = cv2.merge([gain_hw] * 3)  # numpy is slow with single channels beside three
            colours = frame_PPC[..., :3]
            colours += 1
            colours *= cv2.resize(gain_hw3, frame_PPC.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            colours -= 1


@cache
def _mean_folds() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Maps (E, 160, 160), and the landmarks (478, 2) that they belong to, in units of their side."""
    kinds = {
        "folds": ArrayKind(np.float16, (len(EMOTIONS), _STORED_PX, _STORED_PX)),
        "points": ArrayKind(np.float16, (NUM_POINTS, 2)),
    }
    arrays = read_arrays(Path(str(files("openemo") / "assets" / _FILE)), kinds, error=CheckpointError)
    return arrays["folds"].astype(np.float32), arrays["points"].astype(np.float32)
