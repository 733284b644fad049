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
from openemo.rendering.eyelids import Eyelids
from openemo.rendering.lip_motion import LipMotion
from openemo.rendering.mouth_drawing import draw_mouth_interior
from openemo.rendering.mouth_interior import MouthInterior

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
        eyelids: draws the crop with closed eyes.
        lip_motion: scales the motion of the mouth.
    """

    picture_1CQQ: Tensor
    size_px: int
    interior: MouthInterior | None
    eyelids: Eyelids
    lip_motion: LipMotion

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
        return cls(
            images_to_tensor([_double(picture.pixels)]).to(like),
            len(picture.pixels),
            interior,
            Eyelids(colours, picture.points, finish=_double),
            LipMotion(_lip_gain(picture, flow_size).to(like.device), skull_points_K2),
        )

    def pictures(self, eyes_closed_F: NDArray[np.floating] | None) -> Tensor:
        """The crop for each frame, (F, C, Q, Q); a single one, (1, C, Q, Q), if the eyes stay open."""
        if eyes_closed_F is None or not eyes_closed_F.any():
            return self.picture_1CQQ
        drawn = [images_to_tensor([self.eyelids.draw_closed(float(amount))]) for amount in eyes_closed_F]
        pictures_F3QQ = torch.cat(drawn).to(self.picture_1CQQ)
        opacity = self.picture_1CQQ[:, 3:].expand(len(drawn), -1, -1, -1)
        return torch.cat([pictures_F3QQ, opacity], 1)


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
