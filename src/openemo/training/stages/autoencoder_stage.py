"""Trains the motion-compensated autoencoder on pairs of pictures whose flow is known from landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openemo.array_files import ArrayKind, read_array
from openemo.errors import TrainingError
from openemo.face.landmarks import LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from openemo.face.region_weights import region_weight
from openemo.models.motion_autoencoder import MotionAutoencoder
from openemo.rendering.flow import jacobian_determinant, warp
from openemo.training.datasets.autoencoder_dataset import AutoencoderDataset, FrameBatch
from openemo.training.exports import load_export
from openemo.training.new_networks import new_network
from openemo.training.objective import autocast
from openemo.training.recipes import AutoencoderRecipe

__all__ = ["AutoencoderStage"]

# Within the mouth: source area over target area, below which the mouth counts as opening.
_OPENING_AREA, _OPENING_SOFTNESS = 0.45, 0.3
_WITHIN_MOUTH: Final = 0.1  # of `region_weight`; stretched cells outside it are skin
_KNEE: Final = 0.1  # of Huber's loss, where the grey scale is 2 wide


class AutoencoderStage:
    """Reconstruction of frames from a reference and the flow."""

    def __init__(self, recipe: AutoencoderRecipe) -> None:
        self.recipe = recipe
        self.model = new_network(MotionAutoencoder, recipe.model, recipe.seed)
        if recipe.initial_weights is not None:
            self.model = load_export(MotionAutoencoder, recipe.initial_weights)
        self.dataset = AutoencoderDataset(recipe, int(self.model.config.flow_stride))
        _load_teeth(self.model, recipe.data / "teeth.npy")
        self.model.to(memory_format=torch.channels_last)
        if recipe.decoder_only:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name.startswith("decoder."))
        self.modules: Mapping[str, nn.Module] = {"autoencoder": self.model}

    def loss(self, batch: FrameBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Huber's loss of pixels and of their gradients, weighted towards mouth and eyes."""
        num_frames, frames = self.recipe.frames, batch.frames_N3SS
        with autocast(self.recipe.mixed_precision, "cpu"):
            pyramid = self.model.encode_pyramid(batch.references_R3SS).expand_frames(num_frames)
            residual = self.model.decoder(pyramid, batch.flow_N2hw)
        warped = warp(batch.references_R3SS.repeat_interleave(num_frames, 0), batch.flow_N2hw)
        made = warped + residual
        weight, mouth = self._weights(batch)
        error = (weight * _huber(made - frames)).mean()
        gradient = sum(
            (w * _huber(a - b)).mean()
            for (a, b, w) in zip(_gradients(made), _gradients(frames), _cut(weight), strict=True)
        )
        with torch.no_grad():
            mouth_error, warp_error = (
                (mouth * (picture - frames).abs()).sum() / (3 * mouth.sum()) for picture in (made, warped)
            )
        return {
            "loss": error + gradient,
            "huber": error,
            "mouth": mouth_error,
            "mouth_of_warp": warp_error,
        }

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the autoencoder as a pipeline loads it."""
        self.model.save_pretrained(folder / "autoencoder")

    def _weights(self, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        """(N, 1, S, S) weight of the loss, mean 1 per frame; and of the mouth without its opening."""
        size, points = batch.frames_N3SS.shape[-1], batch.points_NP2
        mouth = region_weight(points, size, OUTER_LIPS)
        eyes = region_weight(points, size, RIGHT_EYE) + region_weight(points, size, LEFT_EYE)
        # The decoder does not draw the inside of the mouth, see `rendering.mouth_interior`.
        area = F.interpolate(jacobian_determinant(batch.flow_N2hw), size=(size, size), mode="bilinear")
        opened = ((_OPENING_AREA - area) / _OPENING_SOFTNESS + 0.5).clamp(0, 1) * (mouth > _WITHIN_MOUTH)
        weight = (1 + self.recipe.mouth_weight * mouth + self.recipe.eye_weight * eyes) * (1 - opened)
        return weight / weight.mean((1, 2, 3), keepdim=True), mouth * (1 - opened)


def _load_teeth(model: MotionAutoencoder, path: Path) -> None:
    """The row of teeth that data preparation made, if it made one.

    Raises:
        TrainingError: it is damaged, or of another size.
    """
    if not path.exists():
        return
    teeth = read_array(path, ArrayKind(np.float32))
    if teeth.shape != model.teeth.shape:
        raise TrainingError(
            f"the row of teeth in {path} has another size",
            got=str(teeth.shape),
            expected=str(tuple(model.teeth.shape)),
            fix="Remove it and run `openemo data prepare` again",
        )
    model.teeth.copy_(torch.from_numpy(teeth))


def _huber(error: Tensor) -> Tensor:
    """Huber's loss, error^2 / 0.2 below the knee.

    Plain L1 does not learn here. Its gradient is as large for the noise of the whole background as for the
    inside of the mouth, and the noise has the larger area.
    """
    return F.smooth_l1_loss(error, torch.zeros_like(error), beta=_KNEE, reduction="none")


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def _cut(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:], x[..., 1:, :]
