"""The portrait in the resolution of the frames, with the layers that are drawn by rule."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Image
from openemo.face.landmarks import OUTER_LIPS, STABLE
from openemo.face.region_weights import region_weight
from openemo.image_tensors import images_to_tensor
from openemo.rendering.eyes import Eyes
from openemo.rendering.lip_motion import LipMotion
from openemo.rendering.mouth_drawing import draw_mouth_interior
from openemo.rendering.mouth_interior import MouthInterior
from openemo.rendering.skin_folds import SkinFolds

__all__ = ["PortraitLayers", "PortraitPicture"]


# Standard deviations over the width of the mouth: of the gain on lip motion; and of the part that moves only
# with the head if the mouth is covered. This one is cut off, so that it is flat inside.
_LIP_SIGMA = 0.7
_COVER_SIGMA, _COVER_CUT = 0.9, 2.0


@dataclass(frozen=True, slots=True)
class PortraitPicture:
    """The crop that is animated, in the resolution of the frames.

    Attributes:
        pixels: (P, P, 3) uint8 RGB, or (P, P, 4) with opacity.
        points: (478, 2) landmarks, in units of the side.
        lip_motion: factor on the motion of the mouth; 1 is as the network predicts it.
        is_mouth_covered: nothing may be drawn where the mouth is.
    """

    pixels: Image
    points: NDArray[np.float32]
    lip_motion: float = 1.0
    is_mouth_covered: bool = False


@dataclass(frozen=True, slots=True)
class PortraitLayers:
    """The parts of an animated portrait.

    Attributes:
        picture_1CQQ: the crop at twice its shown size: it stays sharp when it moves by parts of a pixel. The
            fourth channel is opacity.
        size_px: side of the frames.
        interior: teeth, tongue and cavity, shown where the mouth opens; None for a covered mouth.
        eyes: draws the eyes of `picture_1CQQ` looking elsewhere and closing.
        lip_motion: scales the motion of the mouth.
        folds: what skin does in an expression; None for drawings and covered mouths.
    """

    picture_1CQQ: Tensor
    size_px: int
    interior: MouthInterior | None
    eyes: Eyes
    lip_motion: LipMotion
    folds: SkinFolds | None

    @classmethod
    def draw(
        cls, picture: PortraitPicture, *, teeth: NDArray[np.float32], flow_size: int, like: Tensor
    ) -> PortraitLayers:
        """All layers of one portrait.

        Args:
            teeth: a row of upper teeth for portraits that hide their own, see `draw_mouth_interior`.
            flow_size: cells of the flow along a side.
            like: device and dtype of the picture; layers stay float32.
        """
        colours = np.ascontiguousarray(picture.pixels[..., :3])
        interior = None
        if not picture.is_mouth_covered:
            interior = draw_mouth_interior(colours, picture.points, teeth).to(like.device)
        skull_points_K2 = torch.from_numpy(picture.points[list(STABLE), :2]).float().to(like.device)
        doubled = _double(picture.pixels)
        return cls(
            images_to_tensor([doubled]).to(like),
            len(picture.pixels),
            interior,
            Eyes(np.ascontiguousarray(doubled[..., :3]), picture.points),
            LipMotion(_lip_gain(picture, flow_size).to(like.device), skull_points_K2),
            _folds(picture, interior, like),
        )

    def pictures(
        self, gaze_F2: NDArray[np.floating] | None, eyes_closed_F2: NDArray[np.floating] | None
    ) -> Tensor:
        """The crop for each frame, (F, C, Q, Q); a single one, (1, C, Q, Q), if the eyes stay as they are.

        Args:
            gaze_F2, eyes_closed_F2: as in `Behaviour`; None is zero.
        """
        given = gaze_F2 if eyes_closed_F2 is None else eyes_closed_F2
        if given is None or not any(track is not None and track.any() for track in (gaze_F2, eyes_closed_F2)):
            return self.picture_1CQQ
        still_F2 = np.zeros((len(given), 2))
        gaze_F2, eyes_closed_F2 = (still_F2 if t is None else t for t in (gaze_F2, eyes_closed_F2))
        pictures_FCQQ = self.picture_1CQQ.repeat(len(given), 1, 1, 1)
        for picture_CQQ, gaze_2, closed_2 in zip(pictures_FCQQ, gaze_F2, eyes_closed_F2, strict=True):
            for patch in self.eyes.draw(gaze_2, closed_2):
                height, width = patch.pixels.shape[:2]
                box = (slice(patch.y0, patch.y0 + height), slice(patch.x0, patch.x0 + width))
                picture_CQQ[:3, *box] = images_to_tensor([patch.pixels])[0].to(picture_CQQ)
        return pictures_FCQQ


def _folds(picture: PortraitPicture, interior: MouthInterior | None, like: Tensor) -> SkinFolds | None:
    if interior is None or not interior.manner.photographic:
        return None
    folds = SkinFolds.draw(picture.points, like.shape[-1])
    return SkinFolds(folds.maps_EHW.to(like.device) * interior.manner.photographic)


def _lip_gain(picture: PortraitPicture, flow_size: int) -> Tensor:
    """(1, 1, g, g): `lip_motion` at the mouth, fading to 1 over cheeks and chin, which move with the lips;
    for a covered mouth 0 all around it."""
    points_1K2 = torch.from_numpy(picture.points)[None]
    sigma = _COVER_SIGMA if picture.is_mouth_covered else _LIP_SIGMA
    mouth = region_weight(points_1K2, flow_size, OUTER_LIPS, sigma_ratio=sigma, min_sigma=1 / flow_size)
    if picture.is_mouth_covered:
        return 1 - (_COVER_CUT * mouth).clamp_max(1)
    return 1 + (picture.lip_motion - 1) * mouth


def _double(image: Image) -> Image:
    """Twice the height and width, with Lanczos' kernel, which keeps nearly all frequencies."""
    return np.asarray(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4), np.uint8)
