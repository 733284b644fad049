"""The portrait in the resolution of the frames, with the layers that are drawn by rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from openemo.arrays import Image
from openemo.face.landmarks import OUTER_LIPS, STABLE, face_width_px, mouth_opening
from openemo.face.region_weights import region_weight
from openemo.grids import centre_grid
from openemo.image_tensors import levels_to_values
from openemo.rendering.eyes import Eyes
from openemo.rendering.lip_motion import LipMotion
from openemo.rendering.mouth_drawing import draw_mouth_interior
from openemo.rendering.mouth_interior import MouthInterior
from openemo.rendering.picture_warp import move_pictures
from openemo.rendering.skin_folds import SkinFolds

__all__ = ["PortraitLayers", "PortraitPicture"]


# Standard deviations over the width of the mouth: of the gain on lip motion; and of the part that moves only
# with the head if the mouth is covered. This one is cut off, so that it is flat inside.
_LIP_SIGMA = 1.2
_COVER_SIGMA, _COVER_CUT = 0.9, 2.0
_CORNER_SIGMA = 0.22  # the same around each corner
_CLOSING_SIGMA = 0.45  # the chin goes on moving with the jaw while lips are shut
_UNEVEN = 0.015  # either half of the mouth may depart by this from the mean of both, over its width
_FOLDS_PX = 256  # side of their maps, which are smooth
_APART = 0.01  # opening of a mouth, in face widths
_LIPS = (61, 291, 0, 17)  # corners, outer edge of the upper and of the lower lip
# The residual bleaches irises and greys the skin between raised brows. It has its whole strength from the
# base of the nose down, and none from the lower lids up, where warp, folds and eyes draw what changes.
_LOWER_LIDS, _NOSE_BASE = (145, 374), 2
_GAIN_PX = 64  # side of the map of its strength, which is smooth
# Of the variance of a portrait's Laplacian 0.82 is left after linear interpolation, as with a cubic kernel.
_SHARPER = np.array([-0.1, 1.2, -0.1], np.float32)


@dataclass(frozen=True, slots=True)
class PortraitPicture:
    """The crop that is animated, in the resolution of the frames.

    Attributes:
        pixels: (P, P, 3) uint8 RGB, or (P, P, 4) with opacity.
        points: (478, 2) landmarks, in units of the side.
        lip_motion: factor on the motion of the mouth; 1 is as the network predicts it.
        lip_width, lip_corners: further factors on the motion of its width, and of its corners up and down.
        lip_closing: lips that part by less are drawn shut, in face widths, see `LipMotion`.
        is_mouth_covered: nothing may be drawn where the mouth is.
        own_smile: strength of a smile that was taken out of the pixels; its folds are still in them.
        own_teeth: (4, *TEETH_SIZE), seen in that smile; None if none were.
    """

    pixels: Image
    points: NDArray[np.float32]
    lip_motion: float = 1.0
    lip_width: float = 1.0
    lip_corners: float = 1.0
    lip_closing: float = 0.0
    is_mouth_covered: bool = False
    own_smile: float = 0.0
    own_teeth: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class PortraitLayers:
    """The parts of an animated portrait.

    Attributes:
        picture_QQ4: the crop, RGB with opacity, at twice its shown size: it stays sharp when it moves by
            parts of a pixel.
        has_opacity: whether frames have a fourth channel.
        size_px: side of the frames.
        interior: teeth, tongue and cavity, shown where the mouth opens; None for a covered mouth.
        eyes: draws the eyes of `picture_QQ4` looking elsewhere and closing.
        lip_motion: scales the motion of the mouth.
        folds: what skin does in an expression; None for drawings and covered mouths.
        residual_gain_11gg: factor on what the network adds to colours.
    """

    picture_QQ4: Image
    has_opacity: bool
    size_px: int
    interior: MouthInterior | None
    eyes: Eyes
    lip_motion: LipMotion
    folds: SkinFolds | None
    residual_gain_11gg: Tensor

    @classmethod
    def draw(
        cls, picture: PortraitPicture, *, teeth: NDArray[np.float32], flow_size: int, device: torch.device
    ) -> PortraitLayers:
        """All layers of one portrait.

        Args:
            teeth: a row of upper teeth for portraits that hide their own, see `draw_mouth_interior`.
            flow_size: cells of the flow along a side.
            device: of the flow that `lip_motion` scales; frames are made on the CPU.
        """
        colours = np.ascontiguousarray(picture.pixels[..., :3])
        interior = None
        if not picture.is_mouth_covered:
            interior = draw_mouth_interior(colours, picture.points, teeth, picture.own_teeth)
        doubled = _double(picture.pixels)
        has_opacity = doubled.shape[2] == 4
        return cls(
            doubled if has_opacity else np.asarray(cv2.cvtColor(doubled, cv2.COLOR_RGB2RGBA), np.uint8),
            has_opacity,
            len(picture.pixels),
            interior,
            Eyes(np.ascontiguousarray(doubled[..., :3]), picture.points),
            _lip_motion(picture, flow_size).to(device),
            _folds(picture, interior),
            _residual_gain(picture.points),
        )

    def animate(
        self,
        flow_N2gg: Tensor,
        residual_N3hw: Tensor,
        gaze_F2: NDArray[np.floating] | None = None,
        eyes_closed_F2: NDArray[np.floating] | None = None,
        expression_FE: NDArray[np.floating] | None = None,
        tongue_F: NDArray[np.floating] | None = None,
    ) -> Tensor:
        """The crop for each frame, (N, C, P, P) float32 in [-1, 1], on the CPU.

        Args:
            flow_N2gg: backward flow in units of the side; `lip_motion` is in it.
            residual_N3hw: what is added to colours, at any resolution.
            gaze_F2, eyes_closed_F2: as in `Behaviour`; None is zero.
            expression_FE: strengths of the emotions, for `SkinFolds`; None leaves the skin as it is.
            tongue_F: see `MouthInterior.composite`.
        """
        flow, residual = (part.detach().float().cpu() for part in (flow_N2gg, residual_N3hw))
        residual = residual * F.interpolate(
            self.residual_gain_11gg, size=residual.shape[-2:], mode="bilinear"
        )
        if self.interior is not None:
            flow = self.interior.refine_flow(flow)
            residual = residual * self.interior.manner.photographic  # its shadows would stain a drawing
        else:  # what covers the mouth keeps its pixels
            gain = self.lip_motion.gain_11gg.cpu()
            residual = residual * F.interpolate(gain, size=residual.shape[-2:], mode="bilinear")
        # x and y side by side, as OpenCV reads them.
        flow_cells = np.moveaxis(np.ascontiguousarray(flow.permute(0, 2, 3, 1).numpy()), -1, 1)
        pictures = self._pictures(flow_cells, gaze_F2, eyes_closed_F2)
        frames_NPPC = self._values(move_pictures(pictures, flow_cells, self.size_px))
        if self.folds is not None and expression_FE is not None:
            self.folds.draw_on(frames_NPPC, flow, expression_FE)
        for frame_PPC, residual_3hw in zip(frames_NPPC, residual.numpy(), strict=True):
            _add_enlarged(frame_PPC, residual_3hw)
        frames = torch.from_numpy(frames_NPPC).permute(0, 3, 1, 2)
        if self.interior is not None:
            tongue = None if tongue_F is None else torch.from_numpy(tongue_F)
            self.interior.composite(frames[:, :3], flow, tongue)
        return frames.clamp_(-1, 1)

    def _pictures(
        self,
        flow_N2gg: NDArray[np.float32],
        gaze_F2: NDArray[np.floating] | None,
        eyes_closed_F2: NDArray[np.floating] | None,
    ) -> Iterator[Image]:
        """The doubled crop for each frame. Each is valid until the next one is asked for."""
        still = np.zeros((len(flow_N2gg), 2))
        gaze_F2, eyes_closed_F2 = (still if track is None else track for track in (gaze_F2, eyes_closed_F2))
        drawn_QQ4 = None
        for flow_2gg, gaze_2, closed_2 in zip(flow_N2gg, gaze_F2, eyes_closed_F2, strict=True):
            patches = self.eyes.draw(gaze_2, closed_2, flow_2gg)
            if not patches:
                yield self.picture_QQ4
                continue
            if drawn_QQ4 is None:
                drawn_QQ4 = self.picture_QQ4.copy()
            for patch in patches:
                drawn_QQ4[patch.box][..., :3] = patch.pixels
            yield drawn_QQ4
            for patch in patches:
                drawn_QQ4[patch.box] = self.picture_QQ4[patch.box]

    def _values(self, frames_NPP4: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, P, P, C) in [-1, 1]."""
        if self.has_opacity:
            return levels_to_values(frames_NPP4)
        size = frames_NPP4.shape[:3]
        values_NPP3 = np.empty((*size, 3), np.float32)
        for values, frame in zip(values_NPP3, frames_NPP4, strict=True):
            values[:] = levels_to_values(np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB), np.uint8))
        return values_NPP3


def _folds(picture: PortraitPicture, interior: MouthInterior | None) -> SkinFolds | None:
    if interior is None or not interior.manner.photographic:
        return None
    return SkinFolds.draw(
        picture.points, _FOLDS_PX, own_smile=picture.own_smile, share=float(interior.manner.photographic)
    )


def _residual_gain(points: NDArray[np.float32]) -> Tensor:
    """(1, 1, g, g) 0 at the eyes and above, 1 from the base of the nose down."""
    lids, nose = points[list(_LOWER_LIDS), :2].mean(0), points[_NOSE_BASE, :2]
    axis = nose - lids
    down_gg = (centre_grid(_GAIN_PX, _GAIN_PX) - torch.from_numpy(lids)) @ torch.from_numpy(axis)
    share_gg = (down_gg / float(axis @ axis)).clamp(0, 1)
    return (share_gg * share_gg * (3 - 2 * share_gg))[None, None]


def _lip_motion(picture: PortraitPicture, flow_size: int) -> LipMotion:
    """Gains at the mouth, fading to 1 over cheeks and chin, which move with the lips.

    For a covered mouth 0 all around it. Lips that are apart in the picture are not brought together here.
    """
    points_K2 = torch.from_numpy(picture.points[:, :2]).float()
    is_covered, is_open = picture.is_mouth_covered, mouth_opening(picture.points) > _APART

    def weight(landmarks: tuple[int, ...], sigma_ratio: float) -> Tensor:
        return region_weight(
            points_K2[None], flow_size, landmarks, sigma_ratio=sigma_ratio, min_sigma=1 / flow_size
        )

    mouth_11gg = weight(OUTER_LIPS, _COVER_SIGMA if is_covered else _LIP_SIGMA)
    mouth_width = float((points_K2[_LIPS[0]] - points_K2[_LIPS[1]]).norm())
    return LipMotion(
        mouth_11gg=(_COVER_CUT * mouth_11gg).clamp_max(1) if is_covered else mouth_11gg,
        corners_11gg=_around(points_K2[list(_LIPS[:2])], _CORNER_SIGMA * mouth_width, flow_size),
        closing_11gg=weight(OUTER_LIPS, _CLOSING_SIGMA),
        lips_42=points_K2[list(_LIPS)],
        skull_points_K2=points_K2[list(STABLE)],
        strength=0.0 if is_covered else picture.lip_motion,
        width=1.0 if is_covered else picture.lip_width,
        corners=1.0 if is_covered else picture.lip_corners,
        uneven=_UNEVEN * mouth_width,
        closing=0.0 if is_open or is_covered else picture.lip_closing * face_width_px(picture.points),
    )


def _around(points_K2: Tensor, sigma: float, size: int) -> Tensor:
    """(1, 1, size, size): 1 at some points, falling off as a Gaussian. Lengths are in units of the side."""
    squares_Kgg = (centre_grid(size, size) - points_K2[:, None, None]).square().sum(-1)
    return (-0.5 * squares_Kgg / sigma**2).exp().amax(0)[None, None]


def _double(image: Image) -> Image:
    """Twice the height and width, with Lanczos' kernel, which keeps nearly all frequencies.

    It is sharpened by what `move_pictures` loses in the mean.
    """
    doubled = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LANCZOS4)
    sharper = cv2.sepFilter2D(doubled, cv2.CV_8U, _SHARPER, _SHARPER, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(sharper, np.uint8)


def _add_enlarged(frame_PPC: NDArray[np.float32], residual_3hw: NDArray[np.float32]) -> None:
    """Bilinear: no difference to bicubic is seen."""
    size = frame_PPC.shape[1::-1]
    residual = np.ascontiguousarray(np.moveaxis(residual_3hw, 0, -1))
    frame_PPC[..., :3] += cv2.resize(residual, size, interpolation=cv2.INTER_LINEAR)
