"""Training: objective, stages, loop, recipes."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["STAGES", "run"]

STAGES = ("autoencoder", "audio", "image", "video", "speed", "sync")


def run(stage: str, recipe: Path, overrides: list[str] | None = None) -> None:
    """Runs a stage of a recipe file, from where it stopped last.

    Args:
        stage: one of `STAGES`.

    Raises:
        ConfigError: unknown stage or setting. TrainingError: no data. NonFiniteLossError: the run diverged.
    """
    from openemo.errors import ConfigError

    if stage not in STAGES:
        raise ConfigError("there is no such stage", got=stage, expected=" or ".join(STAGES))

    import torch

    from openemo.training.audio import AudioStage
    from openemo.training.autoencoder import AutoencoderStage
    from openemo.training.denoiser import DenoiserStage
    from openemo.training.loop import Stage, train
    from openemo.training.peers import joined_peers
    from openemo.training.recipe import (
        AudioRecipe,
        AutoencoderRecipe,
        DenoiserRecipe,
        LoopRecipe,
        SyncRecipe,
        load_recipe,
    )
    from openemo.training.sync import SyncStage

    logging.getLogger(__name__).info("stage %s from %s", stage, recipe)
    settings: LoopRecipe
    trained: Stage
    changes = overrides or []
    with joined_peers():  # sequences that are not coded yet are coded by all, too
        if stage == "autoencoder":
            settings = load_recipe(AutoencoderRecipe, recipe, changes)
            trained = AutoencoderStage(settings)
        elif stage == "audio":
            settings = load_recipe(AudioRecipe, recipe, changes)
            trained = AudioStage(settings)
        elif stage == "sync":
            settings = load_recipe(SyncRecipe, recipe, changes)
            trained = SyncStage(settings)
        else:
            settings = load_recipe(DenoiserRecipe, recipe, changes)
            trained = DenoiserStage(stage, settings)  # type: ignore[arg-type]
        torch.set_num_threads(settings.num_threads)
        train(trained, settings, settings.output)
