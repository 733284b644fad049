"""Training: objective, stages, loop, recipes."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["run"]


def run(stage: str, recipe: Path, overrides: list[str] | None = None) -> None:
    """Runs a stage ("autoencoder", "image", "video", "speed" or "sync") of a recipe, or goes on with it.

    Raises:
        ConfigError: unknown stage or setting. TrainingError: no data. NonFiniteLossError: the run diverged.
    """
    import torch

    from openemo.errors import ConfigError
    from openemo.training.autoencoder import AutoencoderStage
    from openemo.training.denoiser import DenoiserStage
    from openemo.training.loop import train
    from openemo.training.recipe import AutoencoderRecipe, DenoiserRecipe, SyncRecipe, load_recipe
    from openemo.training.sync import SyncStage

    logging.getLogger(__name__).info("stage %s from %s", stage, recipe)
    if stage == "autoencoder":
        settings = load_recipe(AutoencoderRecipe, recipe, overrides or [])
        torch.set_num_threads(settings.num_threads)
        train(AutoencoderStage(settings), settings, settings.output)
    elif stage in ("image", "video", "speed"):
        denoiser = load_recipe(DenoiserRecipe, recipe, overrides or [])
        torch.set_num_threads(denoiser.num_threads)
        train(DenoiserStage(stage, denoiser), denoiser, denoiser.output)  # type: ignore[arg-type]
    elif stage == "sync":
        sync = load_recipe(SyncRecipe, recipe, overrides or [])
        torch.set_num_threads(sync.num_threads)
        train(SyncStage(sync), sync, sync.output)
    else:
        raise ConfigError(
            "there is no such stage", got=stage, expected="autoencoder, image, video, speed or sync"
        )
