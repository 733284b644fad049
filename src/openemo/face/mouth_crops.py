"""The mouth cut out of every frame, upright and at one scale: the input of a lip-sync network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from openemo.arrays import Floats, Image
from openemo.face.landmarks import OUTER_LIPS

__all__ = ["mouth_crops"]


_EYE_SPAN_PX: Final = 56.0  # between the outer eye corners in the crops; the mouth is then about 30 px wide
_RIGHT_CORNER, _LEFT_CORNER, _BRIDGE, _UNDER_NOSE = 33, 263, 168, 2
# Distance of the outer eye corners over the length of the nose, on a face that looks straight. Yaw shortens
# the first and pitch the second, so the larger of the two gives the scale.
_SPAN_OVER_NOSE = 1.75
_HEAD_SMOOTHING_FRAMES = 1.5
# Long enough that the motion of the jaw does not move the crop.
_MOUTH_SMOOTHING_FRAMES = 8.0


def mouth_crops(
    frames: Iterable[Image], points_px: Floats, size_px: tuple[int, int]
) -> tuple[Image, NDArray[np.bool_]]:
    """Crops around the mouth, stabilised by eyes and nose, so that only lips and jaw move in them.

    Args:
        frames: F images, (height, width, 3) RGB.
        points_px: (F, 478, 2 or more) landmarks, NaN in frames without a face.
        size_px: height and width of the crops; it does not change the scale.

    Returns:
        (F, height, width) uint8 grey crops, zero in frames without a face; (F,) bool, which frames have one.
    """
    seen = np.asarray(np.isfinite(points_px[..., :2]).all((1, 2)), np.bool_)
    height, width = size_px
    crops = np.zeros((len(points_px), height, width), np.uint8)
    if not seen.any():
        return crops, seen
    centre, angle, span = _crop_geometry(np.asarray(points_px[..., :2], np.float64), seen)
    for index, frame in enumerate(frames):
        if seen[index]:
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            crops[index] = _cut_rectangle(
                grey, centre[index], angle[index], span[index] / _EYE_SPAN_PX, size_px
            )
    return crops, seen


def _crop_geometry(points: Floats, seen: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Centre (F, 2) px, roll (F,) rad and eye span (F,) px of the crops, smoothed over frames with a face."""
    right, left = points[:, _RIGHT_CORNER], points[:, _LEFT_CORNER]
    nose = np.linalg.norm(points[:, _UNDER_NOSE] - points[:, _BRIDGE], axis=1)
    span = np.maximum(np.linalg.norm(left - right, axis=1), _SPAN_OVER_NOSE * nose)
    across = left - right
    head = np.column_stack([(left + right) / 2, np.log(span), np.arctan2(across[:, 1], across[:, 0])])
    head = _smooth(head, seen, _HEAD_SMOOTHING_FRAMES)
    middle, span, angle = head[:, :2], np.exp(head[:, 2]), head[:, 3]
    # Position of the mouth in the head's axes, in eye spans: it changes slowly and not with head motion.
    offset = (points[:, list(OUTER_LIPS)].mean(1) - middle) / span[:, None]
    position = _smooth(_rotate(offset, -angle), seen, _MOUTH_SMOOTHING_FRAMES)
    return middle + span[:, None] * _rotate(position, angle), angle, span


def _rotate(vectors: Floats, angle: Floats) -> Floats:
    """Vectors (F, 2), each rotated by its angle (F,), radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = vectors.T
    return np.stack([cos * x - sin * y, sin * x + cos * y], 1)


def _smooth(values: Floats, seen: NDArray[np.bool_], sigma: float) -> Floats:
    """Gaussian filter over time of values (F, C); frames without a face have no weight."""
    weight = seen[:, None].astype(np.float64)
    filled = np.where(seen[:, None], values, 0.0)
    total = gaussian_filter1d(filled, sigma, axis=0, mode="constant")
    return np.asarray(total / np.maximum(gaussian_filter1d(weight, sigma, axis=0, mode="constant"), 1e-9))


def _cut_rectangle(
    grey: Image, centre: Floats, angle: float, scale: float, size_px: tuple[int, int]
) -> Image:
    """A rotated rectangle of `size_px` * `scale` around `centre`; shrinking averages, the border repeats.

    Lip-sync networks were trained on these pixels; `sample_square` rounds differently.
    """
    height, width = size_px
    fine = max(1, int(np.ceil(scale)))
    step = scale / fine
    cos, sin = np.cos(angle) * step, np.sin(angle) * step
    matrix = np.array([[cos, -sin], [sin, cos]])
    shift = centre - matrix @ ((np.array([width, height]) * fine - 1) / 2)
    cut = cv2.warpAffine(
        grey,
        np.column_stack([matrix, shift]),
        (width * fine, height * fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if fine > 1:
        cut = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cut, np.uint8)
