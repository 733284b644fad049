"""Driven portraits: still pictures of many people with the motion of a real clip. Training data only.

A warp by the clip's landmark motion cannot open a mouth, so the inside of the mouth is taken from the clip's
frame.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from openemo.arrays import Floats, Image
from openemo.face.landmarks import FACE_OVAL, INNER_LIPS, LEFT_EYE, RIGHT_EYE, eye_opening
from openemo.face.masks import fill_contour
from openemo.face.similarity import fit_similarity
from openemo.rendering.landmark_flow import face_flow
from openemo.rendering.tone import colour_share

__all__ = ["drive_frame", "warp_picture"]


_RENDER_GRID = 64
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def warp_picture(picture: Image, flow: NDArray[np.float32]) -> Image:
    """Applies a backward flow (2, g, g), in units of the side, to a square picture (S, S, 3)."""
    side = picture.shape[0]
    dense = [cv2.resize(component * side, (side, side), interpolation=cv2.INTER_LINEAR) for component in flow]
    xs, ys = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    return np.asarray(
        cv2.remap(
            picture,
            xs + dense[0].astype(np.float32),
            ys + dense[1].astype(np.float32),
            cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


def _gap(lips: Floats) -> float:
    """Height of the inner lip contour, in the units of `lips`."""
    middle_lower, middle_upper = lips[5], lips[15]
    return float(np.linalg.norm(middle_lower - middle_upper))


def _mouth_map(source: Floats, target: Floats) -> Floats:
    """(2, 3) affine map of the mouth: a similarity of its corners, its height by the ratio of the gaps."""
    fit = fit_similarity(source[[0, 10]], target[[0, 10]])
    across = target[10] - target[0]
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    down = np.array([-across[1], across[0]])
    scale = float(np.sqrt(abs(np.linalg.det(fit.matrix))))
    stretch = np.clip(_gap(target) / max(_gap(source) * scale, 1e-6), 0.6, 1.7)
    squeeze = np.eye(2) + (stretch - 1) * np.outer(down, down)
    matrix = squeeze @ fit.matrix
    shift = target.mean(0) - matrix @ source.mean(0)
    return np.concatenate([matrix, shift[:, None]], 1)


def _skin_level(picture: Image, points: Floats) -> float:
    """Mean brightness inside the face's outline."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.round(points[list(FACE_OVAL)]).astype(np.int32), (1,))
    return float(picture[mask > 0].mean()) if mask.any() else 128.0


def _tint(inside: NDArray[np.float32], picture: Image) -> NDArray[np.float32]:
    """The inside of the mouth in the tone of the picture: a grey tongue in an engraving, sepia in a print."""
    colour = colour_share(picture)
    mean = picture.reshape(-1, 3).mean(0)
    tint = mean / max(float(mean @ _LUMA), 1.0)
    grey = (inside @ _LUMA)[..., None] * tint.astype(np.float32)
    return np.asarray(colour * inside + (1 - colour) * grey, np.float32)


def _draw_lashes(picture: Image, reference_points: Floats, target_points: Floats) -> Image:
    """Darkens the line between closed eyelids, where a warp leaves a compressed eye."""
    side = picture.shape[0]
    mask = np.zeros((side, side), np.float32)
    rest, now = eye_opening(reference_points), eye_opening(target_points)
    for eye, before, after in zip((RIGHT_EYE, LEFT_EYE), rest, now, strict=True):
        shut = float(np.clip((0.3 - after / max(before, 1e-6)) / 0.2, 0, 1))
        outline = np.round(target_points[list(eye), :2] * 16).astype(np.int32)
        cv2.polylines(mask, [outline], isClosed=True, color=shut, thickness=max(side // 128, 2), shift=4)
        cv2.fillPoly(mask, [outline], shut, shift=4)
    if not mask.any():
        return picture
    # The darkest neighbour above or below is the edge of an eyelid, where the lashes are.
    lashes = cv2.erode(picture, np.ones((2 * max(side // 128, 1) + 1, 1), np.uint8))
    alpha = cv2.GaussianBlur(mask, (0, 0), side / 250)[..., None]
    return np.asarray(np.round(picture * (1 - alpha) + lashes * alpha), np.uint8)


def drive_frame(
    picture: Image,
    reference_points: Floats,
    target_points: Floats,
    clip_frame: Image,
    clip_points: Floats,
) -> Image:
    """One frame of a driven portrait.

    Args:
        picture: (S, S, 3) crop of the portrait.
        reference_points, target_points: (478, 2) landmarks in the crop, px: of the portrait, of the frame.
        clip_frame, clip_points: the clip's frame with this motion, and its landmarks, px of the clip.
    """
    side = picture.shape[0]
    flow = face_flow(reference_points / side, target_points / side, _RENDER_GRID)
    warped = _draw_lashes(warp_picture(picture, flow), reference_points, target_points)
    lips = list(INNER_LIPS)
    target, source = target_points[lips], clip_points[lips, :2]
    opened = _gap(target) - 1.15 * _gap(reference_points[lips])
    # A mouth that is closed, or open no wider than in the portrait, looks better as the warp has it.
    weight = float(np.clip((opened - 0.004 * side) / (0.012 * side), 0, 1))
    if weight == 0:
        return warped
    inside = cv2.warpAffine(
        clip_frame, _mouth_map(source, target), (side, side), flags=cv2.INTER_CUBIC
    ).astype(np.float32)
    inside = _tint(inside, picture)
    gain = _skin_level(picture, reference_points) / max(_skin_level(clip_frame, clip_points[:, :2]), 1.0)
    mask = fill_contour(target, (side, side))
    alpha = cv2.GaussianBlur(mask, (0, 0), 0.005 * side)[..., None].astype(np.float32) / 255 * weight
    blended = warped * (1 - alpha) + inside * np.clip(gain, 0.6, 1.4) * alpha
    return np.asarray(np.clip(np.round(blended), 0, 255), np.uint8)
