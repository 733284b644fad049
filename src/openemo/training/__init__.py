"""Training: objective, stages, loop, recipes."""

from __future__ import annotations

import logging
from pathlib import Path

__all__ = ["run"]


def run(stage: str, recipe: Path, overrides: list[str] | None = None) -> None:
    """Runs a stage of a recipe file, from where it stopped last.

    Args:
        stage: "autoencoder", "audio", "image", "video" or "speed".

    Raises:
        ConfigError: unknown stage or setting. TrainingError: no data. NonFiniteLossError: the run diverged.
    """
    import torch

    from openemo.errors import ConfigError
    from openemo.training.audio import AudioStage
    from openemo.training.autoencoder import AutoencoderStage
    from openemo.training.denoiser import DenoiserStage
    from openemo.training.loop import train
    from openemo.training.recipe import AudioRecipe, AutoencoderRecipe, DenoiserRecipe, load_recipe

    logging.getLogger(__name__).info("stage %s from %s", stage, recipe)
    if stage == "autoencoder":
        settings = load_recipe(AutoencoderRecipe, recipe, overrides or [])
        torch.set_num_threads(settings.num_threads)
        train(AutoencoderStage(settings), settings, settings.output)
    elif stage == "audio":
        audio = load_recipe(AudioRecipe, recipe, overrides or [])
        torch.set_num_threads(audio.num_threads)
        train(AudioStage(audio), audio, audio.output)
    elif stage in ("image", "video", "speed"):
        denoiser = load_recipe(DenoiserRecipe, recipe, overrides or [])
        torch.set_num_threads(denoiser.num_threads)
        train(DenoiserStage(stage, denoiser), denoiser, denoiser.output)  # type: ignore[arg-type]
    else:
        raise ConfigError(
            "there is no such stage", got=stage, expected="autoencoder, audio, image, video or speed"
        )
