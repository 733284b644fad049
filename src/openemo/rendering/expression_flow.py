"""Where brows and emotions move a face, as flow: the expression guide of the denoising network.

A number says which emotion is meant; the network would have to learn where it moves each face, and told
neighbours (afraid, surprised) badly apart. The guide says where, as pose guiders do for bodies (Hu et al.,
Animate Anyone, CVPR 2024). What the network makes of it, with speech and head, is its own.

Shapes: F frames, K flows: raised brows, then the emotions in the order of `EMOTIONS`; g cells of a side.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats
from openemo.behaviour.expression_shapes import EMOTIONS, brow_displacement, expression_displacement
from openemo.behaviour.tracks import Behaviour
from openemo.rendering.landmark_flow import face_flow

__all__ = ["expression_flows", "expression_weights"]

_BROWS: Final = 0.008  # face widths that count as 1
_EMOTION: Final = 0.5  # strength that counts as 1


def expression_flows(face: Floats, grid: int) -> NDArray[np.float32]:
    """(K, 2, g, g) backward flow in units of the square's side, of each movement by its unit.

    Args:
        face: (478, 2 or more) landmarks, in units of the side.
    """
    moved = [brow_displacement(_BROWS, face)]
    moved += [expression_displacement(row, face) for row in np.eye(len(EMOTIONS)) * _EMOTION]
    return np.stack([face_flow(face[:, :2], face[:, :2] + change, grid) for change in moved])


def expression_weights(behaviour: Behaviour, *, gain: float = 1.0) -> NDArray[np.float32]:
    """(F, K): how much of each flow a frame has.

    Args:
        gain: factor on the strengths of the emotions.
    """
    values = [behaviour.brows_F[:, None] / _BROWS, gain * behaviour.expression_FE / _EMOTION]
    return np.asarray(np.concatenate(values, 1), np.float32)
