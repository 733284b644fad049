"""Error of the mouth's shape: how far apart and how high the corners are, lips, jaw, cheeks, folds.

In a loss over all cells of the flow, what opens the mouth outweighs what shapes it: the lower lip moves three
times as far as a corner, and takes chin and cheeks along. A network then learns the width late and too small,
although its audio tokens hold it. Here each measure is in units of its own spread in speech.

Shapes: B clips, F frames, K measures, P landmarks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.rendering.rigid_motion import move_points

__all__ = ["MOUTH_MEASURES", "mouth_shape", "mouth_shape_error"]


@dataclass(frozen=True, slots=True)
class _Measure:
    """A sum of coordinates: `right` and `down` hold the share of each landmark; `spread` is its standard
    deviation within a spoken sentence, in face widths (median of 24 clips of one GRID speaker)."""

    spread: float
    right: Mapping[int, float]
    down: Mapping[int, float]


def _mean(*landmarks: int) -> dict[int, float]:
    return {landmark: 1 / len(landmarks) for landmark in landmarks}


_MEASURES: Final[Mapping[str, _Measure]] = {
    "width": _Measure(0.0115, {291: 1.0, 61: -1.0}, {}),
    "corners": _Measure(0.0093, {}, _mean(61, 291)),
    "height": _Measure(0.0330, {}, {17: 1.0, 0: -1.0}),
    "upper lip": _Measure(0.0065, {}, _mean(0, 37, 267)),
    "jaw": _Measure(0.0217, {}, {152: 1.0}),
    "cheeks": _Measure(0.0032, {}, _mean(50, 280, 205, 425)),
    "folds": _Measure(
        0.0048, {423: 1 / 3, 426: 1 / 3, 436: 1 / 3, 203: -1 / 3, 206: -1 / 3, 216: -1 / 3}, {}
    ),
}
MOUTH_MEASURES: Final = tuple(_MEASURES)
_POINTS: Final = sorted({p for measure in _MEASURES.values() for p in (*measure.right, *measure.down)})


def mouth_shape(autoencoder: MotionAutoencoder, latents_BCFHW: Tensor, face_BK2: Tensor) -> Tensor:
    """(B, F, K): `MOUTH_MEASURES` of each frame less those of the reference; 1 is their spread in speech.

    Args:
        face_BK2: the 478 landmarks of each reference, in units of the side.
    """
    shares_KP2 = _shares(latents_BCFHW)
    shapes = []
    for latents_CFHW, face_K2 in zip(latents_BCFHW, face_BK2, strict=True):
        flow_F2gg = autoencoder.unpack(latents_CFHW.transpose(0, 1))
        rest_P2 = face_K2[_POINTS].to(flow_F2gg)
        moved_FP2 = move_points(rest_P2, flow_F2gg) - rest_P2
        width = (face_K2[234] - face_K2[454]).norm()
        shapes.append(torch.einsum("fpa,kpa->fk", moved_FP2 / width.to(flow_F2gg), shares_KP2))
    return torch.stack(shapes)


def mouth_shape_error(
    autoencoder: MotionAutoencoder,
    prediction_BCFHW: Tensor,
    clean_BCFHW: Tensor,
    face_BK2: Tensor,
    *,
    temporal_change_weight: float = 0.0,
) -> Tensor:
    """Mean squared error of the measures; about 1 for a mouth that stays as it is.

    Args:
        prediction_BCFHW: predicted latents. temporal_change_weight: as in `weighted_mse`.
    """
    with torch.no_grad():
        target = mouth_shape(autoencoder, clean_BCFHW, face_BK2)
    error = mouth_shape(autoencoder, prediction_BCFHW, face_BK2) - target
    change = error - error.mean(1, keepdim=True)
    return (error.square() + temporal_change_weight * change.square()).mean()


def _shares(like: Tensor) -> Tensor:
    """(K, P, 2): what each measure takes of each coordinate, over its spread."""
    shares = torch.zeros(len(_MEASURES), len(_POINTS), 2)
    for row, measure in zip(shares, _MEASURES.values(), strict=True):
        for axis, landmarks in enumerate((measure.right, measure.down)):
            for landmark, share in landmarks.items():
                row[_POINTS.index(landmark), axis] = share / measure.spread
    return shares.to(like.device)
