"""Picture quality: likeness to the real frames, sharpness, flicker of the background, drift."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.errors import FaceError
from openemo.evaluation.alignment import face_chip, face_pair
from openemo.evaluation.metrics.frame_statistics import mean, ratio
from openemo.evaluation.observation import Observation

__all__ = ["background_mask", "drift", "face_chips", "flicker", "psnr", "score_picture", "sharpness", "ssim"]


# Mean squared error of rounding to whole grey levels: no smaller error can be measured.
_ROUNDING_MSE: Final = 1 / 12
_SSIM_SIGMA_PX: Final = 1.5
_SSIM_WINDOW_PX: Final = 11
_MARGIN: Final = 0.3  # of the face width on each side: hair and ears move with the head
_MIN_BACKGROUND: Final = 0.02  # of the picture
_DRIFT_WINDOW_S: Final = 1.0


def score_picture(made: Observation, real: Observation, portrait: Observation) -> dict[str, float]:
    """Quality of the made picture, measured against the real clip and the portrait.

    psnr_db, ssim: of the face, each made frame aligned with the real one of its number (`face_pair`).
    sharpness: of the face over that of the portrait at one size: 1 is as sharp, below 1 is blurred.
    flicker_grey: see `flicker`. drift_colour, drift_sharpness: see `drift`.
    lost_frames: frames that the made video lacks at its end; negative if it is longer.

    Raises:
        FaceError: the portrait's first frame has no face.
    """
    if not portrait.has_face[0]:
        raise FaceError("no face found in the portrait", expected="a portrait to compare the frames with")
    pairs = _pairs(made, real)
    chips = face_chips(made)
    reference = sharpness(face_chip(portrait.frames[0], portrait.points_px[0]))
    colour_drift, sharpness_drift = drift(chips, made.fps)
    return {
        "psnr_db": mean(np.array([psnr(ours, theirs) for ours, theirs in pairs])),
        "ssim": mean(np.array([ssim(ours, theirs) for ours, theirs in pairs])),
        "sharpness": ratio(
            mean(np.array([sharpness(chip) for chip in chips if chip is not None])), reference
        ),
        "flicker_grey": flicker(made.frames, background_mask(made)),
        "drift_colour": colour_drift,
        "drift_sharpness": sharpness_drift,
        "lost_frames": float(len(real) - len(made)),
    }


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures, in dB. At most 58.9, the error of rounding.

    torchmetrics' function has no such limit, and its float32 constant changes the seventh digit.
    """
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float(10 * np.log10(255.0**2 / max(error, _ROUNDING_MSE)))


def ssim(a: Image, b: Image) -> float:
    """Structural similarity of the grey pictures, -1 to 1 (Wang et al. 2004, Eq. 13; window of 11).

    Equal to torchmetrics' map without its border, which its mean includes. OpenCV is 100 times faster.
    """
    x, y = (_grey(image) for image in (a, b))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

    def blur(values: Floats) -> Floats:
        size = (_SSIM_WINDOW_PX, _SSIM_WINDOW_PX)
        return np.asarray(cv2.GaussianBlur(values, size, _SSIM_SIGMA_PX), np.float64)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    quality = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    quality /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    border = _SSIM_WINDOW_PX // 2  # where the window reaches over the edge
    return float(quality[border:-border, border:-border].mean())


def sharpness(chip: Image) -> float:
    """Variance of the grey picture's Laplacian (Pech-Pacheco et al. 2000). Noise counts as sharpness."""
    return float(np.var(np.asarray(cv2.Laplacian(_grey(chip), cv2.CV_64F))))


def background_mask(observation: Observation) -> NDArray[np.bool_]:
    """(height, width) what should be still: above every chin, and outside the enlarged boxes of all faces.

    All False if no frame has a face, because the background is unknown then.
    """
    height, width = observation.frames[0].shape[:2]
    mask = np.zeros((height, width), np.bool_)
    points = observation.points_px[observation.has_face][..., :2]
    if not len(points):
        return mask
    low, high = points.min(axis=1), points.max(axis=1)
    grow = _MARGIN * (high - low)[:, :1]
    x0, y0 = np.floor((low - grow).min(axis=0)).astype(int)
    x1, y1 = np.ceil((high + grow).max(axis=0)).astype(int)
    chin = int(high[:, 1].min())
    mask[: np.clip(chin, 0, height)] = True
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = False
    return mask


def flicker(frames: Sequence[Image], mask: NDArray[np.bool_]) -> float:
    """Mean absolute change of the grey background between neighbouring frames, in levels of 255.

    NaN if the background is less than 2 % of the picture, or for a single frame. People behind the speaker or
    a moving camera count as flicker, so read it beside the real clip's.
    """
    if mask.mean() < _MIN_BACKGROUND or len(frames) < 2:
        return float("nan")
    greys = [_grey(frame)[mask] for frame in frames]
    return float(np.mean([np.abs(b - a).mean() for a, b in pairwise(greys)]))


def drift(chips: Sequence[Image | None], fps: float) -> tuple[float, float]:
    """Change of the face between the first and the last second.

    Args:
        chips: the face of each frame; None in frames without a face.

    Returns:
        Distance of the mean colours in CIE Lab (1 is just visible), and the last second's sharpness over the
        first's. NaN under two seconds.
    """
    window = round(_DRIFT_WINDOW_S * fps)
    if len(chips) < 2 * window:
        return float("nan"), float("nan")
    first = [chip for chip in chips[:window] if chip is not None]
    last = [chip for chip in chips[-window:] if chip is not None]
    if not first or not last:
        return float("nan"), float("nan")
    colours = [np.mean([_lab(chip) for chip in part], axis=0) for part in (first, last)]
    sharp = [float(np.mean([sharpness(chip) for chip in part])) for part in (first, last)]
    return float(np.linalg.norm(colours[1] - colours[0])), ratio(sharp[1], sharp[0])


def _pairs(made: Observation, real: Observation) -> list[tuple[Image, Image]]:
    # Only frames that both have. `lost_frames` counts those that the made video lacks.
    together = zip(
        made.frames, made.points_px, made.has_face, real.frames, real.points_px, real.has_face, strict=False
    )
    return [face_pair(a, a_px, b, b_px) for a, a_px, a_seen, b, b_px, b_seen in together if a_seen and b_seen]


def face_chips(observation: Observation) -> list[Image | None]:
    """The face of each frame, upright and of one size (`face_chip`); None in frames without a face."""
    return [
        face_chip(frame, points) if seen else None
        for frame, points, seen in zip(
            observation.frames, observation.points_px, observation.has_face, strict=True
        )
    ]


def _lab(chip: Image) -> Floats:
    """(3,) mean CIE L*a*b*, L from 0 to 100."""
    lab = cv2.cvtColor(np.float32(chip) / np.float32(255), cv2.COLOR_RGB2Lab)
    return np.asarray(np.mean(lab, axis=(0, 1), dtype=np.float64))


def _grey(image: Image) -> NDArray[np.float64]:
    """Luma of BT.601, not rounded, because flicker is a fraction of a grey level."""
    luma = np.array([[0.299, 0.587, 0.114]], np.float32)
    return np.asarray(cv2.transform(image.astype(np.float32), luma), np.float64)
