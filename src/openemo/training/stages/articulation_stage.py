"""Trains the small network that hears the tongue and the lips in Whisper's states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from openemo.audio.articulatory_features import FEATURES, ArticulatoryNet
from openemo.training.datasets.articulation_dataset import ArticulationBatch, ArticulationDataset
from openemo.training.new_networks import new_network
from openemo.training.recipes import ArticulationRecipe

__all__ = ["ArticulationStage"]


class ArticulationStage:
    """Classification of each token, with targets that rise and fall as the articulators do."""

    def __init__(self, recipe: ArticulationRecipe) -> None:
        self.recipe = recipe
        self.dataset = ArticulationDataset(recipe)
        self.model = new_network(ArticulatoryNet, {}, recipe.seed)
        self.modules: Mapping[str, nn.Module] = {"articulation": self.model}

    def loss(self, batch: ArticulationBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy; also the share of the variance of each feature that is explained, at most 1."""
        kept = torch.rand(batch.audio_BND.shape, generator=generator) >= self.recipe.dropout
        logits_BNK = self.model(batch.audio_BND * kept)
        is_heard = batch.weight_BN > 0
        logits_MK, target_MK = logits_BNK[is_heard], batch.target_BNK[is_heard]
        error_K = (logits_MK.sigmoid() - target_MK).square().mean(0)
        explained_K = 1 - error_K / target_MK.var(0).clamp_min(1e-6)
        explained = {name.replace(" ", "_"): value for name, value in zip(FEATURES, explained_K, strict=True)}
        return {"loss": binary_cross_entropy_with_logits(logits_MK, target_MK), **explained}

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the weights as float16."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            name: value.detach().half() for name, value in modules["articulation"].state_dict().items()
        }
        save_file(weights, folder / "articulation.safetensors")
