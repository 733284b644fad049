"""Trains the audio layers alone: from audio features to the shape of a real face.

A denoiser without initial weights needs hours to learn from noisy pictures what audio does to a mouth. A
regression on the landmarks of real clips learns it in minutes. Only the audio layers are kept, not the
regression: the network still goes from audio to frames (EMO 3.2).

Shape letters: B batch, F frames, T speech tokens of one frame, D their width, A width of the audio tokens,
E width of the time embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from openemo.errors import ConfigError
from openemo.models import EmoUNet, unet_config
from openemo.models.audio_layers import AudioProjection, AudioTimeEmbedding
from openemo.training.audio_exports import AUDIO_LAYERS_NAME, is_audio_layer
from openemo.training.datasets.audio_dataset import AudioBatch, AudioDataset
from openemo.training.exports import load_export
from openemo.training.recipes import AudioRecipe

__all__ = ["AudioStage"]


class AudioStage:
    """Regression from each frame's window of audio features to the principal components of the face shape,
    and to the opening of the mouth."""

    def __init__(self, recipe: AudioRecipe) -> None:
        self.recipe = recipe
        config = unet_config(recipe.preset)
        num_tokens, feature_dim = int(config["audio_tokens"]), int(config["audio_feature_dim"])
        self.dataset = AudioDataset(recipe, feature_dim=feature_dim, num_tokens=num_tokens)
        width = 4 * int(config["block_out_channels"][0])
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(recipe.seed)
            self.projection = AudioProjection(feature_dim, num_tokens, config["audio_dim"])
            self.embedding = AudioTimeEmbedding(num_tokens, config["audio_dim"], width)
            self.head = nn.Linear(width, self.dataset.num_targets)
            self.teacher = None if recipe.teacher is None else self._start_from(recipe.teacher)
        self.embedding.linear_2.requires_grad_(False)
        self.modules: Mapping[str, nn.Module] = {
            "audio_projection": self.projection,
            "audio_embedding": self.embedding,
            "head": self.head,
        }

    def loss(self, batch: AudioBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared error of the whitened components, weighted by their spread, and distance to the teacher.

        "explained_variance" is that of the mouth opening, at most 1.
        """
        kept = torch.rand(batch.audio_FTD.shape, generator=generator) >= self.recipe.dropout
        outputs = _layer_outputs(self.projection, self.embedding, (batch.audio_FTD * kept)[None])
        prediction_FK = self.head(outputs[1])[0]
        error_FK = (prediction_FK - batch.target_FK) ** 2
        opening = self.dataset.opening
        is_filmed = batch.weight_FK[:, opening] > 0
        error, target = error_FK[is_filmed, opening], batch.target_FK[is_filmed, opening]
        explained = 1 - error.mean() / target.var().clamp_min(1e-6) if is_filmed.any() else torch.zeros(())
        losses = {
            "loss": (error_FK * batch.weight_FK).sum(1).mean() / len(self.dataset.weight_K),
            "explained_variance": explained,
        }
        if self.teacher is not None:
            with torch.no_grad():
                teacher_outputs = _layer_outputs(*self.teacher, batch.teacher_audio_FTD[None])
            losses["distillation"] = sum(
                map(_relative_error, outputs, teacher_outputs), start=torch.zeros(())
            )
            losses["loss"] = losses["loss"] + self.recipe.teacher_weight * losses["distillation"]
        return losses

    def export(self, modules: Mapping[str, nn.Module], folder: Path) -> None:
        """Writes the layers under their names in `EmoUNet`. The regression head is not needed again."""
        weights = {
            f"{part}.{key}": value.detach().clone()
            for part, module in modules.items()
            for key, value in module.state_dict().items()
        }
        folder.mkdir(parents=True, exist_ok=True)
        layers = {name: value for name, value in weights.items() if is_audio_layer(name)}
        save_file(layers, folder / AUDIO_LAYERS_NAME)

    def _start_from(self, folder: Path) -> tuple[AudioProjection, AudioTimeEmbedding]:
        """Copies the layers of an exported network where shapes fit, and returns that network's own."""
        unet = load_export(EmoUNet, folder / "unet").requires_grad_(False)
        projection, embedding = unet.audio_projection, unet.audio_embedding
        if not isinstance(projection, AudioProjection) or embedding is None:
            raise ConfigError("the teacher has other audio layers than Whisper's", got=folder / "unet")
        teacher = (projection, embedding)
        for own, other in zip((self.projection, self.embedding), teacher, strict=True):
            state = own.state_dict()
            fitting = {k: v for k, v in other.state_dict().items() if v.shape == state[k].shape}
            own.load_state_dict(state | fitting)
        return teacher


def _layer_outputs(
    projection: AudioProjection, embedding: AudioTimeEmbedding, audio_BFTD: Tensor
) -> tuple[Tensor, Tensor]:
    """All that the rest of the network reads of the audio: tokens (B, F, T, A), features (B, F, E)."""
    tokens = projection(audio_BFTD)
    return tokens, embedding.features(tokens)


def _relative_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference over the variance of `target` between frames and tokens."""
    return (output - target).square().mean() / target.flatten(0, -2).var(0).mean().clamp_min(1e-6)
