"""What the pipeline and the training ask of an autoencoder, whatever its latents mean.

Shapes: B batch, C channels, F frames, N motion frames, S side of the crop, H x W latent grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from openemo.models.network import Network
from openemo.rendering.portrait_layers import PortraitPicture

__all__ = ["MAX_SAMPLE_PX", "Autoencoder", "Engine", "Reference", "torch_engine"]

MAX_SAMPLE_PX: Final = 4096
"""Largest side of a crop, as in `PipelineConfig.crop_px`."""


Engine = Callable[[nn.Module], Callable[..., Any]]
"""What runs networks: gives for each a function of the same inputs."""


def torch_engine(network: nn.Module) -> Callable[..., Any]:
    """The network as it is."""
    return network


class Reference(Protocol):
    """A portrait that an autoencoder has read. Only that autoencoder knows what else is in it."""

    @property
    def features_BCHW(self) -> Tensor:
        """What the ReferenceNet reads of it, on the latent grid."""
        ...


ReferenceT = TypeVar("ReferenceT", bound=Reference)


class Autoencoder(Network, ABC, Generic[ReferenceT]):
    """Frames <-> latents of about unit spread, given a reference."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """C."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """Pixels per latent cell."""

    @property
    @abstractmethod
    def moves_portrait(self) -> bool:
        """Frames are the portrait's own pixels, moved: eyes and lips can then be controlled by rule."""

    @abstractmethod
    def encode_reference(self, image_B3SS: Tensor, picture: PortraitPicture | None = None) -> ReferenceT:
        """Read a portrait once for all frames.

        Args:
            image_B3SS: the crop in [-1, 1] at the size that the networks read.
            picture: the same crop as it is shown; None decodes at the networks' size.
        """

    @abstractmethod
    def still_latents(self, features_BCHW: Tensor, num_frames: int) -> Tensor:
        """Latents (B, C, F, H, W) of frames that all look like the reference with these features."""

    @abstractmethod
    def reference_input(self, features_BCHW: Tensor, motion_BCNHW: Tensor | None) -> Tensor:
        """What the ReferenceNet reads, (B, channels, 1 + N, H, W): the reference, then the motion frames."""

    @abstractmethod
    def decode(
        self,
        latents_BCFHW: Tensor,
        reference: ReferenceT,
        *,
        gaze_F2: NDArray[np.floating] | None = None,
        eyes_closed_F2: NDArray[np.floating] | None = None,
        expression_FE: NDArray[np.floating] | None = None,
        tongue_F: NDArray[np.floating] | None = None,
        pressed_F: NDArray[np.floating] | None = None,
        engine: Engine = torch_engine,
    ) -> Tensor:
        """Frames (B, 3, F, height, width) in [-1, 1]; with opacity, in [-1, 1] too, (B, 4, F, height, width).

        Args:
            gaze_F2, eyes_closed_F2, expression_FE: as in `Behaviour`, where `moves_portrait`; None is zero.
                The expression draws folds of the skin; its motion is in the latents.
            tongue_F: how far the tip of the tongue is raised, 0 to 1, as in l, n, d, th; None leaves it down.
            pressed_F: how far lips are brought together, 0 to 1, as in m, b, p; None leaves them.
            engine: runs the decoder's network.
        """

    def head_flow(self, latents_BCFHW: Tensor) -> Tensor | None:
        """(F, 2, g, g) backward flow of the head as a rigid body, in units of the crop's side, of the first
        clip of a batch; None for latents without."""
        return None

    @abstractmethod
    def reencode(self, latents_BCNHW: Tensor, reference: ReferenceT) -> Tensor:
        """Latents of the frames that these latents decode to."""
