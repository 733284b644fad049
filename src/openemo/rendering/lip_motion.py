"""Scales the motion of the lips: a denoiser predicts the mean of plausible motions, which is too small.

Where the mean is small that is no motion to scale: of lips that shut in most of the plausible motions, it
leaves a narrow gap. So narrow gaps are closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from openemo.grids import centre_grid
from openemo.rendering.flow import FULL_BOX, sample_maps
from openemo.rendering.rigid_motion import move_points, rigid_motion

__all__ = ["LipMotion"]


@dataclass(frozen=True, slots=True)
class LipMotion:
    """Gains on the motion of the mouth relative to the head. Lengths are in units of the side.

    Attributes:
        mouth_11gg: where the motion is scaled, 1 at the mouth and 0 far from it.
        corners_11gg: the same for the corners of the mouth alone.
        strength: factor on all motion; 1 leaves it as it is.
        width: a further factor on the motion along the mouth: lips that spread and round.
        corners: a further factor on the motion of the corners up and down.
        closing_11gg: where lips come together that part by less than `closing`, 1 at the lips.
        lips_42: the right and left corner, and the middle of the upper and the lower lip, in the reference.
        closing: lips that part by less than half of it do not part; from one and a half of it on they part
            as they did.
        skull_points_K2: points that move with the head only, in the reference.
        uneven: most that either half of the mouth departs across it from the mean of both.
    """

    mouth_11gg: Tensor
    corners_11gg: Tensor
    closing_11gg: Tensor
    lips_42: Tensor
    skull_points_K2: Tensor
    strength: float = 1.0
    width: float = 1.0
    corners: float = 1.0
    closing: float = 0.0
    uneven: float = math.inf

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(
            self,
            mouth_11gg=self.mouth_11gg.to(device),
            corners_11gg=self.corners_11gg.to(device),
            closing_11gg=self.closing_11gg.to(device),
            lips_42=self.lips_42.to(device),
            skull_points_K2=self.skull_points_K2.to(device),
        )

    @property
    def gain_11gg(self) -> Tensor:
        """Factor for each cell of the flow."""
        return 1 + (self.strength - 1) * self.mouth_11gg

    def __call__(self, flow_N2gg: Tensor, pressed_N: Tensor | None = None) -> Tensor:
        """The backward flow with the gains applied; head motion is unchanged.

        Args:
            pressed_N: how far lips are brought together whatever the flow says, 0 to 1.
        """
        height, width = flow_N2gg.shape[-2:]
        positions_gg2 = centre_grid(height, width, device=flow_N2gg.device)
        head_Ngg2 = rigid_motion(self.skull_points_K2, flow_N2gg).inverse(positions_gg2) - positions_gg2
        head_N2gg = head_Ngg2.permute(0, 3, 1, 2)
        motion_N2gg = flow_N2gg - head_N2gg
        if math.isfinite(self.uneven):
            motion_N2gg = motion_N2gg + self._evening(motion_N2gg, positions_gg2)
        axis_2 = self._axis_2
        scaled_N2gg = self.gain_11gg * motion_N2gg
        along_N2gg = torch.einsum("a,nahw,b->nbhw", axis_2, scaled_N2gg, axis_2)
        across_N2gg = scaled_N2gg - along_N2gg
        closed_N111 = 1 - self._kept(flow_N2gg, pressed_N)[:, None, None, None]
        return (
            head_N2gg
            + scaled_N2gg
            + (self.width - 1) * self.mouth_11gg * along_N2gg
            + (self.corners - 1) * self.corners_11gg * across_N2gg
            - closed_N111 * self.closing_11gg * across_N2gg
        )

    def parting(self, flow_N2gg: Tensor) -> Tensor:
        """(N,) how much further the lips' outer edges are apart than in the reference, without any gain."""
        axis_2 = self._axis_2
        down_2 = torch.stack([-axis_2[1], axis_2[0]])
        rest_22 = self.lips_42[2:]
        moved_N22 = move_points(rest_22, flow_N2gg) - rest_22
        return (moved_N22[:, 1] - moved_N22[:, 0]) @ down_2

    def _evening(self, motion_N2gg: Tensor, positions_gg2: Tensor) -> Tensor:
        """What brings the motion of the lips across the mouth near that of the other half.

        One half that opens alone is an error of the network; a real mouth differs by little.
        """
        axis_2, corner_2 = self._axis_2, self.lips_42[0]
        width = (self.lips_42[1] - corner_2) @ axis_2
        middle = (self.lips_42[2:].mean(0) - corner_2) @ axis_2
        from_middle_gg = (positions_gg2 - corner_2) @ axis_2 - middle
        # In a face that is turned one half is narrower.
        ratio = ((width - middle) / middle).clamp(0.3, 3.0)
        mirrored_gg = -from_middle_gg * torch.where(from_middle_gg < 0, ratio, 1 / ratio)
        places_gg2 = positions_gg2 + (mirrored_gg - from_middle_gg)[..., None] * axis_2
        down_2 = torch.stack([-axis_2[1], axis_2[0]])
        across_N1gg = torch.einsum("a,nahw->nhw", down_2, motion_N2gg)[:, None]
        other_N1gg = sample_maps(across_N1gg, places_gg2.expand(len(across_N1gg), -1, -1, -1), FULL_BOX)
        uneven_N1gg = (across_N1gg - other_N1gg) / 2
        change_N1gg = self.uneven * (uneven_N1gg / self.uneven).tanh() - uneven_N1gg
        return self.closing_11gg * change_N1gg * down_2[:, None, None]

    @property
    def _axis_2(self) -> Tensor:
        right, left = self.lips_42[:2]
        return torch.nn.functional.normalize(left - right, dim=0)

    def _kept(self, flow_N2gg: Tensor, pressed_N: Tensor | None) -> Tensor:
        """(N,) the share of the parting of the lips that stays; 1 for lips that are pressed together."""
        if not self.closing:
            return flow_N2gg.new_ones(len(flow_N2gg))
        parting_N = self.parting(flow_N2gg)
        share_N = (parting_N / self.closing - 0.5).clamp(0, 1)
        kept_N = share_N * share_N * (3 - 2 * share_N)
        if pressed_N is not None:
            kept_N = torch.minimum(kept_N, 1 - pressed_N)
        return torch.where(parting_N < 0, 1, kept_N)
